"""Kratos' switches between older and newer answers: `feature_flags`."""

from pydantic import Field

from shopkeeper.settings.section import Section


class FeatureFlags(Section):
    """Switches between older and newer answers."""

    use_continue_with_transitions: bool = Field(
        default=False,
        description="Whether a recovery that has ended is answered by 200 and `continue_with` rather than by 422; "
        "native apps need it to go on to the new password",
    )
    legacy_require_verified_login_error: bool = Field(
        default=False,
        description="Whether a sign-in that needs a verified address shows the form again (4000010), after passwords "
        "only and without a new mail",
    )
    legacy_continue_with_verification_ui: bool = Field(
        default=False,
        description="Whether `continue_with` names the verification of new addresses without the hook "
        "`show_verification_ui`, too",
    )
    faster_session_extend: bool = Field(
        default=False, description="Whether extending a session is answered by 204, without the session"
    )
