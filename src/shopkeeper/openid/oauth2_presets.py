"""Providers that speak OAuth 2 without OpenID Connect, as data: their endpoints, and what their answers mean.

Their issuer is a name that we give them. An address counts as verified only where the provider says so.
"""

from collections.abc import Mapping
from typing import Any, Final

from shopkeeper.openid.preset import ISSUER, Preset
from shopkeeper.openid.provider import Endpoints, TokenShape, UserinfoRequest, UserinfoShape

_POST: Final = "client_secret_post"
_GITHUB_ISSUER: Final = "https://github.com/login/oauth"
"""How GitHub names itself in its answers: https://docs.github.com/apps/github-authentication-discovery-endpoints."""


def _oauth2(label: str, issuer: str, *, endpoints: tuple[str, str, str], shape: UserinfoShape, **more: Any) -> Preset:
    """Return a preset. The endpoints are those of authorization, tokens and userinfo."""
    authorization, token, userinfo = endpoints
    fields: dict[str, Any] = {"configurable_issuer": False, "required_scope": (), **more}
    addresses = Endpoints(authorization=authorization, token=token, userinfo=userinfo)
    return Preset(label, issuer=issuer, openid=False, endpoints=addresses, userinfo=shape, **fields)


# https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps. A profile shows an address only
# where its owner wants it to; the list of addresses has all, and says which are verified.
_GITHUB: Final = _oauth2(
    "GitHub",
    "https://github.com",
    endpoints=(
        "https://github.com/login/oauth/authorize",
        "https://github.com/login/oauth/access_token",
        "https://api.github.com/user",
    ),
    shape=UserinfoShape(
        name="user",
        further=(UserinfoRequest("emails", "https://api.github.com/user/emails", optional=True),),
        headers={"Accept": "application/vnd.github+json"},
        claims={
            "sub": "user.id",
            "name": "user.name",
            "nickname": "user.login",
            "preferred_username": "user.login",
            "picture": "user.avatar_url",
            "profile": "user.html_url",
            "website": "user.blog",
            "email": ("emails.?primary.email", "user.email"),
            "email_verified": "emails.?primary.verified",
        },
    ),
    issuer_aliases=(_GITHUB_ISSUER,),
    scope=("read:user", "user:email"),
    pkce="force",
    verifies_email=True,
)

OAUTH2_PRESETS: Final[Mapping[str, Preset]] = {
    "github": _GITHUB,
    # What a GitHub App may read is set at GitHub, and not asked for.
    "github-app": _oauth2(
        "GitHub",
        "https://github.com",
        endpoints=(
            "https://github.com/login/oauth/authorize",
            "https://github.com/login/oauth/access_token",
            "https://api.github.com/user",
        ),
        shape=_GITHUB.userinfo,
        issuer_aliases=(_GITHUB_ISSUER,),
        scope=(),
        pkce="force",
        verifies_email=True,
    ),
    # https://developers.facebook.com/docs/facebook-login/guides/advanced/manual-flow. Without a version, the addresses
    # lead to the oldest one that the application may use. Nothing says that an address is verified.
    "facebook": _oauth2(
        "Facebook",
        "https://www.facebook.com",
        endpoints=(
            "https://www.facebook.com/dialog/oauth",
            "https://graph.facebook.com/oauth/access_token",
            "https://graph.facebook.com/me",
        ),
        shape=UserinfoShape(
            parameters={
                "fields": "id,name,first_name,last_name,middle_name,email,picture",
                "appsecret_proof": "{appsecret_proof}",
            },
            claims={
                "sub": "id",
                "name": "name",
                "given_name": "first_name",
                "family_name": "last_name",
                "middle_name": "middle_name",
                "email": "email",
                "picture": "picture.data.url",
            },
        ),
        scope=("email", "public_profile"),
        token_auth=_POST,
        confirming={"auth_type": "reauthenticate"},
    ),
    # https://discord.com/developers/docs/topics/oauth2. That it knows PKCE, also of clients with a secret, is told in
    # https://discord.com/.well-known/oauth-authorization-server and in the manual of its SDK.
    "discord": _oauth2(
        "Discord",
        "https://discord.com",
        endpoints=(
            "https://discord.com/oauth2/authorize",
            "https://discord.com/api/oauth2/token",
            "https://discord.com/api/users/@me",
        ),
        shape=UserinfoShape(
            claims={
                "sub": "id",
                "name": ("global_name", "username"),
                "nickname": "username",
                "preferred_username": "username",
                "email": "email",
                "email_verified": "verified",
                "locale": "locale",
            },
            texts={"picture": "https://cdn.discordapp.com/avatars/{id}/{avatar}.png"},
        ),
        scope=("identify", "email"),
        required_scope=("identify",),
        pkce="force",
        verifies_email=True,
    ),
    # https://developer.spotify.com/documentation/web-api/reference/get-current-users-profile. Its manual says that the
    # address is not verified. PKCE: https://developer.spotify.com/documentation/web-api/tutorials/code-pkce-flow.
    "spotify": _oauth2(
        "Spotify",
        "https://accounts.spotify.com",
        endpoints=(
            "https://accounts.spotify.com/authorize",
            "https://accounts.spotify.com/api/token",
            "https://api.spotify.com/v1/me",
        ),
        shape=UserinfoShape(
            claims={
                "sub": "id",
                "name": "display_name",
                "nickname": "display_name",
                "email": "email",
                "picture": "images.0.url",
                "profile": "external_urls.spotify",
                "birthdate": "birthdate",
            },
        ),
        scope=("user-read-email", "user-read-private"),
        pkce="force",
    ),
    # https://docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code. Only a confirmed address is told.
    "x": _oauth2(
        "X",
        "https://x.com",
        endpoints=(
            "https://x.com/i/oauth2/authorize",
            "https://api.x.com/2/oauth2/token",
            "https://api.x.com/2/users/me",
        ),
        shape=UserinfoShape(
            parameters={"user.fields": "id,name,username,profile_image_url,url,confirmed_email"},
            claims={
                "sub": "data.id",
                "name": "data.name",
                "preferred_username": "data.username",
                "nickname": "data.username",
                "picture": "data.profile_image_url",
                "website": "data.url",
                "email": "data.confirmed_email",
            },
            constants={"email_verified": True},
        ),
        scope=("users.read", "tweet.read", "users.email"),
        required_scope=("users.read", "tweet.read"),
        pkce="force",
        token_auth="client_secret_basic",  # noqa: S106 - the name of a method
        verifies_email=True,
    ),
    # https://docs.patreon.com/#get-api-oauth2-v2-identity
    "patreon": _oauth2(
        "Patreon",
        "https://www.patreon.com",
        endpoints=(
            "https://www.patreon.com/oauth2/authorize",
            "https://www.patreon.com/api/oauth2/token",
            "https://www.patreon.com/api/oauth2/v2/identity",
        ),
        shape=UserinfoShape(
            parameters={"fields[user]": "first_name,last_name,full_name,email,is_email_verified,image_url,url"},
            claims={
                "sub": "data.id",
                "name": "data.attributes.full_name",
                "given_name": "data.attributes.first_name",
                "family_name": "data.attributes.last_name",
                "last_name": "data.attributes.last_name",
                "email": "data.attributes.email",
                "email_verified": "data.attributes.is_email_verified",
                "picture": "data.attributes.image_url",
                "profile": "data.attributes.url",
            },
        ),
        scope=("identity", "identity[email]"),
        token_auth=_POST,
        verifies_email=True,
    ),
    # https://developer.amazon.com/docs/login-with-amazon/obtain-customer-profile.html; authorization-code-grant.html
    # there recommends PKCE. `zoneinfo` is what Kratos calls the postal code, and mappers read it under this name.
    "amazon": _oauth2(
        "Amazon",
        "https://www.amazon.com",
        endpoints=(
            "https://www.amazon.com/ap/oa",
            "https://api.amazon.com/auth/o2/token",
            "https://api.amazon.com/user/profile",
        ),
        shape=UserinfoShape(
            bearer=None,
            headers={"x-amz-access-token": "{access_token}"},
            claims={"sub": "user_id", "name": "name", "email": "email", "zoneinfo": "postal_code"},
        ),
        scope=("profile",),
        pkce="force",
        token_auth=_POST,
    ),
    # The interface of LinkedIn before OpenID Connect; applications made since August 2023 have `linkedin_v2` only.
    "linkedin": _oauth2(
        "LinkedIn",
        "https://www.linkedin.com",
        endpoints=(
            "https://www.linkedin.com/oauth/v2/authorization",
            "https://www.linkedin.com/oauth/v2/accessToken",
            "https://api.linkedin.com/v2/me",
        ),
        shape=UserinfoShape(
            name="me",
            further=(
                UserinfoRequest(
                    "email",
                    "https://api.linkedin.com/v2/emailAddress?q=members&projection=(elements*(handle~))",
                    optional=True,
                ),
            ),
            claims={
                "sub": "me.id",
                "given_name": "me.localizedFirstName",
                "family_name": "me.localizedLastName",
                "last_name": "me.localizedLastName",
                "email": "email.elements.0.handle~.emailAddress",
            },
        ),
        scope=("r_liteprofile", "r_emailaddress"),
        token_auth=_POST,
    ),
    # https://yandex.com/dev/id/doc/en/user-information; PKCE: https://yandex.com/dev/id/doc/en/codes/code-url
    "yandex": _oauth2(
        "Yandex",
        "https://login.yandex.ru",
        endpoints=(
            "https://oauth.yandex.com/authorize",
            "https://oauth.yandex.com/token",
            "https://login.yandex.ru/info",
        ),
        shape=UserinfoShape(
            bearer="OAuth",
            parameters={"format": "json"},
            claims={
                "sub": "id",
                "name": ("real_name", "display_name"),
                "given_name": "first_name",
                "family_name": "last_name",
                "nickname": "login",
                "email": "default_email",
                "phone_number": "default_phone.number",
                "gender": "sex",
                "birthdate": "birthday",
            },
            texts={"picture": "https://avatars.yandex.net/get-yapic/{default_avatar_id}/islands-200"},
        ),
        scope=(),
        pkce="force",
    ),
    # https://dev.vk.com/api/access-token/authcode-flow-user. The address comes with the token.
    "vk": _oauth2(
        "VK",
        "https://vk.com",
        endpoints=(
            "https://oauth.vk.com/authorize",
            "https://oauth.vk.com/access_token",
            "https://api.vk.com/method/users.get",
        ),
        shape=UserinfoShape(
            name="users",
            token="token",  # noqa: S106 - the name of an answer
            bearer=None,
            parameters={"fields": "photo_200,nickname,bdate", "access_token": "{access_token}", "v": "5.131"},
            claims={
                "sub": "users.response.0.id",
                "given_name": "users.response.0.first_name",
                "family_name": "users.response.0.last_name",
                "nickname": "users.response.0.nickname",
                "picture": "users.response.0.photo_200",
                "birthdate": "users.response.0.bdate",
                "email": "token.email",
            },
        ),
        scope=("email",),
        token_auth=_POST,
    ),
    # https://open.feishu.cn/document/common-capabilities/sso/api/get-user-info
    "lark": _oauth2(
        "Lark",
        "https://passport.feishu.cn",
        endpoints=(
            "https://passport.feishu.cn/suite/passport/oauth/authorize",
            "https://passport.feishu.cn/suite/passport/oauth/token",
            "https://passport.feishu.cn/suite/passport/oauth/userinfo",
        ),
        shape=UserinfoShape(
            claims={
                "sub": "open_id",
                "name": "name",
                "nickname": "name",
                "picture": "avatar_url",
                "email": "email",
                "phone_number": "mobile",
            },
        ),
        scope=(),
        token_auth=_POST,
    ),
    # https://docs.uaepass.ae/feature-guides/authentication/web-application
    "uaepass": _oauth2(
        "UAE PASS",
        "https://id.uaepass.ae",
        endpoints=(f"{ISSUER}/idshub/authorize", f"{ISSUER}/idshub/token", f"{ISSUER}/idshub/userinfo"),
        shape=UserinfoShape(
            claims={
                "sub": "sub",
                "name": "fullnameEN",
                "given_name": "firstnameEN",
                "family_name": "lastnameEN",
                "last_name": "lastnameEN",
                "email": "email",
                "phone_number": "mobile",
            },
        ),
        configurable_issuer=True,
        scope=("urn:uae:digitalid:profile:general",),
        authorization_parameters={"acr_values": "urn:safelayer:tws:policies:authentication:level:low"},
        token_auth="client_secret_basic",  # noqa: S106 - the name of a method
        pkce="force",
    ),
    # https://open.dingtalk.com/document/orgapp/tutorial-obtaining-user-personal-information. It wants a scope `openid`,
    # has no ID token, and names everything else differently than RFC 6749 does.
    "dingtalk": _oauth2(
        "DingTalk",
        "https://login.dingtalk.com",
        endpoints=(
            "https://login.dingtalk.com/oauth2/auth",
            "https://api.dingtalk.com/v1.0/oauth2/userAccessToken",
            "https://api.dingtalk.com/v1.0/contact/users/me",
        ),
        shape=UserinfoShape(
            bearer=None,
            headers={"x-acs-dingtalk-access-token": "{access_token}"},
            claims={
                "sub": "openId",
                "name": "nick",
                "nickname": "nick",
                "picture": "avatarUrl",
                "email": "email",
                "phone_number": "mobile",
            },
        ),
        scope=(),
        authorization_parameters={"scope": "openid", "prompt": "consent"},
        token_auth=_POST,
        token_shape=TokenShape(
            json=True,
            request={"client_id": "clientId", "client_secret": "clientSecret", "grant_type": "grantType"},
            answer={"access_token": "accessToken", "refresh_token": "refreshToken", "expires_in": "expireIn"},
        ),
    ),
}
