"""The user of a request: a frozen value that requests share while it is cached."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast


class ReadOnlyDict(dict[str, Any]):
    """A dictionary that cannot be changed: requests with one token share it. `copy` returns one that can be."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("The data of a session is shared between requests: change a copy of it.")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def copy(self) -> dict[str, Any]:
        """Return a copy that can be changed, with everything below."""
        return cast(dict[str, Any], _thawed(self))

    def __deepcopy__(self, _: Any) -> dict[str, Any]:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyDict, (dict(self),)


def frozen(value: Any) -> Any:
    """Return JSON data with every object read-only and every array a tuple."""
    if isinstance(value, Mapping):
        return frozen_object(value)
    if isinstance(value, list | tuple):
        return tuple(frozen(below) for below in value)
    return value


def frozen_object(value: Mapping[str, Any]) -> ReadOnlyDict:
    """Return a JSON object, read-only with everything below."""
    return ReadOnlyDict({name: frozen(below) for name, below in value.items()})


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _thawed(below) for name, below in value.items()}
    return [_thawed(below) for below in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class User:
    """Whose session it is.

    Args:
        id: the identity's id; unique for one provider, so store it together with the provider if you use several.
        email: None where the provider tells none.
        verified: whether the provider has verified this very e-mail address.
        traits: the identity's traits; in the modes `jwt` and `introspect`, what the token says of the person.
        session: the provider's session as it was answered; in the modes `jwt` and `introspect`, all claims.
        actor: who acts as this user, an agent of the support, with `sub` where the provider names one; None where it is
            the user's own request. What changes an account must refuse it.

    >>> user = User("7", "ada@example.org", True, frozen({"email": "ada@example.org"}), frozen({}))
    >>> user.as_dict()["traits"]
    {'email': 'ada@example.org'}
    """

    id: str
    email: str | None = field(default=None, repr=False)
    verified: bool = field(default=False, repr=False)
    traits: Mapping[str, Any] = field(default_factory=ReadOnlyDict, repr=False)
    session: Mapping[str, Any] = field(default_factory=ReadOnlyDict, repr=False)
    actor: Mapping[str, Any] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return a copy that can be changed and written as JSON: `{id, email, verified, traits, session,
        actor}`."""
        return {
            "id": self.id,
            "email": self.email,
            "verified": self.verified,
            "traits": _thawed(self.traits),
            "session": _thawed(self.session),
            "actor": _thawed(self.actor),
        }

    # What Starlette and Litestar expect of `request.user`.

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.email or self.id

    @property
    def identity(self) -> str:
        return self.id
