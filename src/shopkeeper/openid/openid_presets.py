"""Providers that speak OpenID Connect, as data: where each of them differs from the standard."""

from collections.abc import Mapping
from typing import Final

from shopkeeper.openid.preset import OPENID, Preset
from shopkeeper.openid.provider import UserinfoShape

_POST: Final = "client_secret_post"
_TWITCH_CLAIMS: Final = dict.fromkeys(("email", "email_verified", "picture", "preferred_username"))

OPENID_PRESETS: Final[Mapping[str, Preset]] = {
    "generic": Preset("OpenID Connect", verifies_email=True, reauthenticates=True),
    # https://developers.google.com/identity/openid-connect/openid-connect. It takes no request for a new sign-in:
    # https://developers.google.com/identity/siwg/security-bundle
    "google": Preset(
        "Google",
        issuer="https://accounts.google.com",
        issuer_aliases=("accounts.google.com",),
        scope_parameters={"offline_access": {"access_type": "offline"}, "offline": {"access_type": "offline"}},
        verifies_email=True,
        confirming={"prompt": "select_account"},
    ),
    # https://developer.apple.com/documentation/signinwithapple. With a scope, Apple answers by a form only, and tells
    # the name in the first answer only.
    "apple": Preset(
        "Apple",
        issuer="https://appleid.apple.com",
        scope=(OPENID, "email", "name"),
        userinfo=UserinfoShape(answer={"given_name": "user.name.firstName", "family_name": "user.name.lastName"}),
        authorization_parameters={"response_mode": "form_post"},
        token_auth=_POST,
        verifies_email=True,
    ),
    # https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc. The issuer is made of the tenant. Nothing
    # says that an address is verified: a tenant's administrator can write any. `auth_time` is an optional claim,
    # which an application has to ask for in its manifest.
    "microsoft": Preset(
        "Microsoft",
        issuer="https://login.microsoftonline.com",
        configurable_issuer=False,
        confirming={"prompt": "login"},
    ),
    # https://docs.gitlab.com/integration/openid_connect_provider/. The name is in userinfo only.
    "gitlab": Preset(
        "GitLab",
        issuer="https://gitlab.com",
        claims_source="userinfo",
        verifies_email=True,
        reauthenticates=True,
    ),
    # https://auth0.com/docs/get-started/applications/configure-applications-with-oidc-discovery,
    # https://auth0.com/docs/authenticate/login/max-age-reauthentication
    "auth0": Preset("Auth0", issuer_slash=True, verifies_email=True, reauthenticates=True),
    # https://help.salesforce.com/s/articleView?id=sf.remoteaccess_using_userinfo_endpoint.htm
    "salesforce": Preset(
        "Salesforce",
        claims_source="userinfo",
        verifies_email=True,
        confirming={"prompt": "login"},
    ),
    # https://learn.microsoft.com/linkedin/consumer/integrations/self-serve/sign-in-with-linkedin-v2. Its ID tokens
    # repeat no nonce, and a code with a proof key (PKCE) is refused as a wrong client. Until 2024 its issuer had no
    # path.
    "linkedin_v2": Preset(
        "LinkedIn",
        issuer="https://www.linkedin.com/oauth",
        configurable_issuer=False,
        issuer_aliases=("https://www.linkedin.com",),
        claims_source="userinfo",
        token_auth=_POST,
        sends_nonce=False,
        pkce="never",
        verifies_email=True,
    ),
    # https://developers.line.biz/en/docs/line-login/integrate-line-login/. Without the parameter, ID tokens are signed
    # with our secret (HS256), which we do not accept.
    "line": Preset(
        "LINE",
        issuer="https://access.line.me",
        configurable_issuer=False,
        scope=(OPENID, "profile", "email"),
        token_parameters={"id_token_key_type": "JWK"},
        token_auth=_POST,
        reauthenticates=True,
    ),
    # https://developer.netid.de
    "netid": Preset(
        "netID",
        issuer="https://broker.netid.de/",
        configurable_issuer=False,
        claims_source="userinfo",
        requested_claims={
            "userinfo": dict.fromkeys(("email", "email_verified", "given_name", "family_name", "birthdate", "gender"))
        },
        verifies_email=True,
    ),
    # https://dev.twitch.tv/docs/authentication/getting-tokens-oidc. Only what is asked for by `claims` is told.
    "twitch": Preset(
        "Twitch",
        issuer="https://id.twitch.tv/oauth2",
        configurable_issuer=False,
        scope=(OPENID, "user:read:email"),
        requested_claims={"id_token": _TWITCH_CLAIMS},
        token_auth=_POST,
        verifies_email=True,
    ),
    # https://docs.slack.dev/authentication/sign-in-with-slack
    "slack": Preset(
        "Slack",
        refused_scopes={"identity.": "Slack's former sign-in; write openid, email and profile"},
        issuer="https://slack.com",
        configurable_issuer=False,
        claims_source="userinfo",
        token_auth=_POST,
        verifies_email=True,
    ),
    # Kratos' name for an OpenID provider of FedEx. Its addresses are not published.
    "fedex-jp": Preset(
        "FedEx",
        unsupported="its addresses are not published; write provider: generic with its issuer_url",
    ),
}
