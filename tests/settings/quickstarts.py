"""What the quickstarts of Ory Kratos configure, release by release, as data: addresses, methods, hooks and secrets."""

from collections.abc import Mapping
from typing import Any, Final

from shopkeeper.settings.files import Tree, merge

COOKIE_SECRET: Final = "PLEASE-CHANGE-ME-I-AM-VERY-INSECURE"
CIPHER_SECRET: Final = "32-LONG-SECRET-NOT-SECURE-AT-ALL"
_MAIL: Final = {"smtp": {"connection_uri": "smtps://test:test@mailslurper:1025/?skip_ssl_verify=true"}}
_ENABLED: Final = {"enabled": True}
_RELYING_PARTY: Final = {"display_name": "Your Application name", "id": "localhost"}
_FACTORS: Final = {
    "totp": {"config": {"issuer": "Kratos"}, **_ENABLED},
    "lookup_secret": _ENABLED,
    "link": _ENABLED,
    "code": _ENABLED,
}
_SMS: Final = {
    "id": "sms",
    "type": "http",
    "request_config": {
        "url": "https://api.twilio.com/2010-04-01/Accounts/AXXXXXXXXXXXXXX/Messages.json",
        "method": "POST",
        "body": "base64://ZnVuY3Rpb24oY3R4KSB7ClRvOiBjdHguUmVjaXBpZW50LApCb2R5OiBjdHguQm9keSwKfQ==",
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        "auth": {"type": "basic_auth", "config": {"user": "AXXXXXXX", "password": "XXXX"}},
    },
}


def _quickstart(version: str | None, ui: str, home: str, *, hooks: tuple[str, ...] = ("session",)) -> Tree:
    after = {"password": {"hooks": [{"hook": hook} for hook in hooks]}}
    return {
        **({"version": version} if version else {}),
        "dsn": "memory",
        "serve": {
            "public": {"base_url": "http://127.0.0.1:4433/", "cors": _ENABLED},
            "admin": {"base_url": "http://kratos:4434/"},
        },
        "selfservice": {
            "default_browser_return_url": home,
            "allowed_return_urls": ["http://127.0.0.1:4455", "exp://localhost:8081/--/Callback"],
            "methods": {"password": _ENABLED},
            "flows": {
                "error": {"ui_url": f"{ui}/error"},
                "settings": {"ui_url": f"{ui}/settings", "privileged_session_max_age": "15m"},
                "recovery": {"ui_url": f"{ui}/recovery", **_ENABLED},
                "verification": {
                    "ui_url": f"{ui}/verification",
                    "after": {"default_browser_return_url": home},
                    **_ENABLED,
                },
                "logout": {"after": {"default_browser_return_url": f"{ui}/login"}},
                "login": {"ui_url": f"{ui}/login", "lifespan": "10m"},
                "registration": {"ui_url": f"{ui}/registration", "lifespan": "10m", "after": after},
            },
        },
        "log": {"level": "debug", "format": "text", "leak_sensitive_values": True},
        "secrets": {"cookie": [COOKIE_SECRET], "cipher": [CIPHER_SECRET]},
        "ciphers": {"algorithm": "xchacha20-poly1305"},
        "hashers": {"algorithm": "bcrypt", "bcrypt": {"cost": 8}},
        "identity": {"default_schema_id": "default", "schemas": [{"id": "default", "url": "file://schema.json"}]},
        "courier": _MAIL,
    }


def _with(tree: Tree, **sections: Any) -> Tree:
    return merge(tree, sections)


def _without(tree: Tree, *names: str) -> Tree:
    return {name: value for name, value in tree.items() if name not in names}


_UI: Final = "http://127.0.0.1:4455"
_TODAY: Final = _quickstart("v0.13.0", _UI, f"{_UI}/welcome", hooks=("session", "show_verification_ui"))
_BY_CODE: Final = {"recovery": {"use": "code"}, "verification": {"use": "code"}}
_FLAGS: Final = {"use_continue_with_transitions": True}
_V07: Final = merge(
    _without(_quickstart("v0.7.1-alpha.1", _UI, f"{_UI}/"), "identity"),
    {"identity": {"default_schema_url": "file://schema.json"}},
)
_V05: Final[Tree] = {
    "serve": {"public": {"base_url": f"{_UI}/.ory/kratos/public/"}, "admin": {"base_url": "http://kratos:4434/"}},
    "selfservice": {
        "default_browser_return_url": f"{_UI}/",
        "whitelisted_return_urls": [_UI],
        "strategies": {"password": _ENABLED},
        "flows": {
            "error": {"ui_url": f"{_UI}/error"},
            "settings": {"ui_url": f"{_UI}/settings", "privileged_session_max_age": "1m"},
            "verification": {"ui_url": f"{_UI}/verify", **_ENABLED},
            "logout": None,
            "login": {"ui_url": f"{_UI}/auth/login", "request_lifespan": "10m"},
            "registration": {
                "ui_url": f"{_UI}/auth/registration",
                "request_lifespan": "10m",
                "after": {"password": {"hooks": [{"hook": "session"}]}},
            },
        },
    },
    "log": {"level": "debug"},
    "secrets": {"cookie": [COOKIE_SECRET]},
    "hashers": {"argon2": {"parallelism": 1, "memory": 131072, "iterations": 2, "salt_length": 16, "key_length": 16}},
    "identity": {"traits": {"default_schema_url": "file://schema.json"}},
    "courier": _MAIL,
}

QUICKSTARTS: Final[Mapping[str, Tree]] = {
    "v0.5": _V05,
    "v0.7": {
        **_V07,
        "selfservice": {
            **_without(_V07["selfservice"], "allowed_return_urls"),
            "whitelisted_return_urls": ["http://127.0.0.1:4455"],
        },
    },
    "email and password": _with(_TODAY, selfservice={"methods": _FACTORS, "flows": _BY_CODE}, feature_flags=_FLAGS),
    "all strategies": _with(
        _TODAY,
        selfservice={
            "methods": {
                **_FACTORS,
                "code": {"passwordless_enabled": True, **_ENABLED},
                "profile": _ENABLED,
                "webauthn": {
                    "config": {"passwordless": True, "rp": {**_RELYING_PARTY, "origin": "http://localhost:4455"}},
                    **_ENABLED,
                },
            },
            "flows": {"recovery": {"use": "code"}, "verification": {"use": "code", "enabled": False}},
        },
        feature_flags=_FLAGS,
    ),
    "cloud": _with(
        _without(_quickstart("v0.13.0", "http://localhost:4455/ui", "http://localhost:4455/ui/welcome"), "ciphers"),
        secrets={"cipher": None},
        identity={
            "default_schema_id": "preset://email",
            "schemas": [{"id": "preset://email", "url": "file://schema.json"}],
        },
    ),
    "webauthn": _with(
        _TODAY,
        selfservice={
            "methods": {
                **_FACTORS,
                "password": {"enabled": False},
                "webauthn": {
                    "config": {"passwordless": True, "rp": {**_RELYING_PARTY, "origin": "http://localhost:4455"}},
                    **_ENABLED,
                },
            },
            "flows": _BY_CODE,
        },
    ),
    "passkey": _with(
        _TODAY,
        selfservice={
            "methods": {
                **_FACTORS,
                "passkey": {"config": {"rp": {**_RELYING_PARTY, "origins": ["http://localhost:4455"]}}, **_ENABLED},
            },
            "flows": merge(_BY_CODE, {"registration": {"after": {"passkey": {"hooks": [{"hook": "session"}]}}}}),
        },
    ),
    "phone and password": _with(
        {**_TODAY, "courier": {"channels": [_SMS]}},
        selfservice={"methods": _FACTORS, "flows": _BY_CODE},
        feature_flags=_FLAGS,
    ),
}
"""The quickstarts, by name. Their identity schema is `schema.json` in the working folder."""
