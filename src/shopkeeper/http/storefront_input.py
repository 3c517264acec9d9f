"""What storefronts send to `/signin`: known fields of the right type, with a nearest name for a misspelt one.

A misspelt field would otherwise be ignored: with `user` in place of `username`, a sign-in would silently give a guest's
token. `scope`, `country`, `currency`, `locale` and `attrs` are sent by published clients and have no effect here.
"""

from collections.abc import Mapping
from typing import Any, Final

from shopkeeper.errors import InvalidInput, UnknownField
from shopkeeper.parsing import nearest_name
from shopkeeper.signin.cart_merge import AuthHint

_TEXT: Final = (str, "a text")
_OBJECT: Final = (dict, "an object")
_FIELDS: Final[Mapping[str, tuple[type, str]]] = {
    "username": _TEXT,
    "password": _TEXT,
    "scope": _TEXT,
    "type": _TEXT,
    "attrs": _OBJECT,
    "country": _TEXT,
    "currency": _TEXT,
    "locale": _TEXT,
    "authHint": _OBJECT,
}
_HINT_FIELDS: Final[Mapping[str, tuple[type, str]]] = {
    "oldCartId": _TEXT,
    "mergeWithExistingCustomerCart": (object, ""),
    "token": _TEXT,
}
_FLAGS: Final = {"true": True, "false": False}


def require_sign_in_fields(fields: Mapping[str, Any]) -> None:
    """Check the fields of a sign-in; one that is null counts as absent, and anything inside `attrs` passes.

    Raises `UnknownField` for an unknown name, and `InvalidInput` for a value of another type.
    """
    _require(fields, _FIELDS)
    if fields.get("type") not in {None, "refresh"}:
        raise InvalidInput("The field 'type' is 'refresh', or is left out.")
    if fields.get("password") is not None and fields.get("username") is None:
        raise InvalidInput("The field 'username' is missing beside 'password'.", topic="sign_in_fields")
    hint_of(fields)
    if token_of(fields) is not None and fields.get("password"):
        raise InvalidInput("Sign in with 'username' and 'password' or with 'authHint.token', and not with both.")


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must be given. Raises `InvalidInput`."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"The field '{name}' must be a text that is not empty.", topic="sign_in_fields")
    return value


def token_of(fields: Mapping[str, Any]) -> str | None:
    """Return the token of the store's provider to sign in with, None where there is none.

    The published client sends a user's id as `username` and an empty `password` beside it; the token alone counts.
    """
    return (fields.get("authHint") or {}).get("token") or None


def hint_of(fields: Mapping[str, Any]) -> AuthHint:
    """Return the client's hint for the cart: flags may be texts; one that is absent, or null, is true.

    Raises `UnknownField` and `InvalidInput`.
    """
    hint = fields.get("authHint") or {}
    _require(hint, _HINT_FIELDS, prefix="authHint.")
    merge = hint.get("mergeWithExistingCustomerCart")
    flag = "true" if merge is None else str(merge).lower() if isinstance(merge, str | bool) else ""
    if flag not in _FLAGS:
        raise InvalidInput("The field 'authHint.mergeWithExistingCustomerCart' must be true or false.")
    return AuthHint(old_cart_id=hint.get("oldCartId") or None, merge=_FLAGS[flag])


def _require(fields: Mapping[str, Any], known: Mapping[str, tuple[type, str]], *, prefix: str = "") -> None:
    for name, value in fields.items():
        if name not in known:
            raise UnknownField(message=f"The field '{prefix}{name[:64]}' is not known here; {_advice(name, known)}")
        type_, wanted = known[name]
        if value is not None and not isinstance(value, type_):
            raise InvalidInput(f"The field '{prefix}{name}' must be {wanted}.")


def _advice(name: str, known: Mapping[str, object]) -> str:
    meant = nearest_name(name, known)
    return f"did you mean '{meant}'?" if meant else f"the known ones are: {', '.join(known)}."
