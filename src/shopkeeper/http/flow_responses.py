"""How each kind of flow is shown: its own fields in JSON, and its own statuses.

The shapes and statuses are Kratos' (contract page sections 2.2 and 2.5). The page of a kind is the template of its name
in `web/pages`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from shopkeeper.flows.flow import Flow
from shopkeeper.flows.outcomes import Completed
from shopkeeper.http.serializers import Serializers, Wire, moment, set_session_token


@dataclass(frozen=True, slots=True)
class FlowResponses:
    """How one kind of flow is shown.

    `ui_url` is the address of its page; `own` returns the JSON fields that only this kind has; `success` returns what
    the final response has besides the session; `invalid_status` is the status of the redirect after a mistake.
    `fetches_expired` and `fetches_replaced` say that a JSON client is redirected to the replacement of such a flow.
    `continues` says that a JSON client learns from `continue_with` which flow follows, rather than by 422 or a redirect
    (`feature_flags.use_continue_with_transitions`).
    """

    ui_url: str
    own: Callable[[Flow], Wire]
    success: Callable[[Serializers, Completed], Wire]
    invalid_status: int = 303
    fetches_expired: bool = False
    fetches_replaced: bool = False
    continues: bool = False


def login(*, ui_url: str) -> FlowResponses:
    return FlowResponses(ui_url, own=_login_fields, success=_nothing_more)


def registration(*, ui_url: str) -> FlowResponses:
    return FlowResponses(ui_url, own=_registration_fields, success=_new_identity, invalid_status=302)


def settings(*, ui_url: str, serializers: Serializers) -> FlowResponses:
    def own(flow: Flow) -> Wire:
        return {"identity": serializers.identity(flow.identity)} if flow.identity is not None else {}

    return FlowResponses(ui_url, own=own, success=_nothing_more)


def recovery(*, ui_url: str, continues: bool) -> FlowResponses:
    return FlowResponses(
        ui_url,
        own=_no_fields,
        success=_nothing_more,
        fetches_expired=True,
        fetches_replaced=True,
        continues=continues,
    )


def verification(*, ui_url: str) -> FlowResponses:
    return FlowResponses(ui_url, own=_no_fields, success=_nothing_more, fetches_expired=True)


def _login_fields(flow: Flow) -> Wire:
    return {
        "organization_id": None,
        **_chosen_schema(flow),
        "created_at": moment(flow.created_at),
        "updated_at": moment(flow.updated_at),
        "refresh": flow.refresh,
        "requested_aal": flow.requested_aal,
    }


def _no_fields(flow: Flow) -> Wire:
    return {}


def _registration_fields(flow: Flow) -> Wire:
    return {"organization_id": None, **_chosen_schema(flow)}


def _chosen_schema(flow: Flow) -> Wire:
    return {"identity_schema": flow.schema_id} if flow.schema_id else {}


def _nothing_more(serializers: Serializers, done: Completed) -> Wire:
    return {"continue_with": None}


def _new_identity(serializers: Serializers, done: Completed) -> Wire:
    """Return the new identity, and for a native app the session token again, as the contract requires."""
    token = done.signed_in.token if done.signed_in else None
    further = [set_session_token(token)] if token else None
    return {"identity": serializers.identity(done.identity), "continue_with": further}
