"""Claims of the userinfo endpoint (OpenID Connect Core 1.0 section 5.3), and of the APIs that OAuth 2 providers have
in its place. What differs between them is data: `UserinfoShape`.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from shopkeeper.errors import MalformedBody
from shopkeeper.openid.authorization import with_query
from shopkeeper.openid.calls import ProviderCalls, parse_answer
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderTokenInvalid
from shopkeeper.openid.provider import Path, Provider, UserinfoShape
from shopkeeper.openid.token_endpoint import Tokens
from shopkeeper.parsing import media_type_of, parse_json

MAX_USERINFO: Final = 64 * 1024
MAX_ANSWER_PARAMETER: Final = 4096
LONGEST_TEXT: Final = 2048
_SECRETS: Final = frozenset({"access_token", "refresh_token", "id_token"})
"""What a token answer has that is no claim: claims may be stored, and shown."""
_PLACEHOLDER: Final = re.compile(r"\{([\w.?]+)\}")
_REFUSED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""Statuses by which a provider refuses an access token (RFC 6750 section 3.1)."""
_OPTIONAL: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


class Userinfo:
    """The userinfo of one provider."""

    def __init__(self, provider: Provider, calls: ProviderCalls) -> None:
        self._provider, self._calls = provider, calls

    async def read(
        self, endpoint: str | None, tokens: Tokens, *, secret: str | None, strangers: bool = False
    ) -> dict[str, Any]:
        """Return what the provider says of the user: the document into which the paths of the shape lead.

        Args:
            strangers: whether anybody may have written the access token; then the provider may refuse it.

        Raises:
            ProviderTokenInvalid: the provider does not accept a stranger's access token.
            ProviderAnswerInvalid: it does not answer a JSON object, or no access token or endpoint is there.
            ProviderUnavailable: it did not answer in time.
        """
        if endpoint is None or tokens.access_token is None:
            raise ProviderAnswerInvalid(
                "The provider has no userinfo endpoint, or gave no token for it.", cause="userinfo"
            )
        shape = self._provider.userinfo
        values = _values(tokens.access_token, secret)
        document = await self._ask(endpoint, values, strangers=strangers)
        if not isinstance(document, dict):
            raise ProviderAnswerInvalid("The provider's userinfo is not a JSON object.", cause="userinfo")
        if not shape.name:
            return document
        answers: dict[str, Any] = {shape.name: document}
        for request in shape.further:
            answers[request.name] = await self._ask(request.url, values, optional=request.optional)
        if shape.token:
            answers[shape.token] = {name: value for name, value in tokens.document.items() if name not in _SECRETS}
        return answers

    async def _ask(
        self, url: str, values: Mapping[str, str], *, optional: bool = False, strangers: bool = False
    ) -> Any:
        shape = self._provider.userinfo
        headers = {name: _filled(template, values) for name, template in shape.headers.items()}
        if shape.bearer is not None:
            headers["Authorization"] = f"{shape.bearer} {values['access_token']}"
        address = with_query(url, {name: _filled(template, values) for name, template in shape.parameters.items()})
        response = await self._calls.send("GET", address, headers=headers, max_bytes=MAX_USERINFO)
        if optional and response.status in _OPTIONAL:
            return None
        if strangers and response.status in _REFUSED:
            raise ProviderTokenInvalid("The provider does not accept the token.", cause="inactive")
        if response.status != HTTPStatus.OK:
            raise ProviderAnswerInvalid(
                f"The provider's userinfo endpoint answered with {response.status}.", cause="userinfo_status"
            )
        if media_type_of(response.headers.get("content-type")) == "application/jwt":
            raise ProviderAnswerInvalid(
                "The provider signs its userinfo. Configure it to answer JSON there, "
                "or take the claims from the ID token.",
                cause="userinfo_signed",
            )
        return parse_answer(response.body, what="The provider's userinfo")


def _values(access_token: str, secret: str | None) -> Mapping[str, str]:
    """Return the values of the placeholders in headers and parameters."""
    proof = hmac.new((secret or "").encode(), access_token.encode(), hashlib.sha256).hexdigest()
    return {"access_token": access_token, "appsecret_proof": proof}


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def claims_of_userinfo(document: Mapping[str, Any], shape: UserinfoShape) -> dict[str, Any]:
    """Return the OpenID claims that a document of `Userinfo.read` means.

    >>> from shopkeeper.openid.provider import UserinfoRequest
    >>> shape = UserinfoShape(
    ...     name="user",
    ...     further=(UserinfoRequest("emails", "https://api.example/emails"),),
    ...     claims={"sub": "user.id", "email": ("emails.?primary.email", "user.email")},
    ... )
    >>> emails = [{"email": "old@example.com", "primary": False}, {"email": "me@example.com", "primary": True}]
    >>> claims_of_userinfo({"user": {"id": 7}, "emails": emails}, shape)
    {'sub': '7', 'email': 'me@example.com'}
    """
    if not shape.claims:
        claims = dict(document[shape.name] if shape.name else document)
    else:
        found = {name: first_of(document, paths) for name, paths in shape.claims.items()}
        claims = {name: value for name, value in found.items() if value is not None}
    claims |= {name: text for name, template in shape.texts.items() if (text := _text(document, template)) is not None}
    claims |= shape.constants
    # OAuth 2 providers count their users; OpenID's subject is a text.
    if isinstance(claims.get("sub"), int) and not isinstance(claims["sub"], bool):
        claims["sub"] = str(claims["sub"])
    return claims


def _text(document: Any, template: str) -> str | None:
    values = {path: value_at(document, path) for path in _PLACEHOLDER.findall(template)}
    if not all(isinstance(value, str | int) for value in values.values()):
        return None
    return _filled(template, {path: str(value)[:LONGEST_TEXT] for path, value in values.items()})


def first_of(document: Any, paths: Path | tuple[Path, ...]) -> Any:
    """Return the value of the first path that leads to one; None where none does."""
    every = (paths,) if isinstance(paths, str) else paths
    return next((value for path in every if (value := value_at(document, path)) is not None), None)


def value_at(document: Any, path: Path) -> Any:
    """Return the value to which a path leads, None where it leads to nothing.

    >>> value_at({"data": [{"id": 1}]}, "data.0.id")
    1
    """
    for step in path.split("."):
        document = _step(document, step)
    return document


def _step(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if not isinstance(value, list):
        return None
    if step.startswith("?"):
        return next((each for each in value if isinstance(each, dict) and each.get(step[1:]) is True), None)
    return value[int(step)] if step.isdecimal() and int(step) < len(value) else None


def claims_of_answer(query: Mapping[str, str], shape: UserinfoShape) -> dict[str, Any]:
    """Return the names that an authorization answer tells (Apple tells them there, and at the first sign-in only).

    A parameter that cannot be read tells nothing: the browser may have changed it.
    """
    found = {name: _answered(query, path) for name, path in shape.answer.items()}
    return {name: value for name, value in found.items() if isinstance(value, str) and 1 <= len(value) <= 255}


def _answered(query: Mapping[str, str], path: Path) -> Any:
    parameter, _, rest = path.partition(".")
    text = query.get(parameter, "")
    if not text or len(text) > MAX_ANSWER_PARAMETER:
        return None
    try:
        return value_at(parse_json(text.encode("utf-8", "surrogatepass")), rest) if rest else text
    except MalformedBody:
        return None
