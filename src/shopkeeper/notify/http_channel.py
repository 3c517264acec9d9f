"""The HTTP channel: hands mails to a provider's or the operator's own HTTP interface, as Kratos does.

The body is JSON of our own form, or what a Jinja template of the operator makes of the same values. The message's id is
the idempotency key, so that a receiver can tell a repetition from a second mail.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shopkeeper.errors import UpstreamFailed
from shopkeeper.http_client import GuardedClient
from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.references import Unreadable, load
from shopkeeper.notify.values import CourierMessage

TIMEOUT: Final = 20.0
"""Seconds for a whole call. Shorter than the lease of an outbox event."""
MAX_BODY: Final = 1024 * 1024
MAX_ANSWER: Final = 64 * 1024
_JSONNET: Final = re.compile(r"^[ \t]*function\s*\(\s*ctx|^[ \t]*local\s+\w+\s*=|std\.\w+\(", re.MULTILINE)
_TRY_AGAIN: Final = frozenset({401, 403, 404, 405, 408, 409, 425, 429})
"""Answers below 500 that are about us or about the time, not about the mail: an operator can repair their cause."""


@dataclass(frozen=True, slots=True)
class HttpAuth:
    """How the channel proves who it is. `place` says where an API key goes."""

    name: str
    value: str = field(repr=False)
    place: Literal["basic", "header", "cookie"] = "header"

    def header(self) -> tuple[str, str]:
        """Return the header that carries it."""
        if self.place == "basic":
            pair = base64.b64encode(f"{self.name}:{self.value}".encode()).decode()
            return "Authorization", f"Basic {pair}"
        return ("Cookie", f"{self.name}={self.value}") if self.place == "cookie" else (self.name, self.value)


async def body_template(reference: str, client: GuardedClient) -> str:
    """Load the template of a request's body. Raises `ValueError`, also where it is Jsonnet, as Kratos' templates are.

    Jsonnet begins with `function(ctx)` where it says something of the mail.
    """
    try:
        text = await load(reference, client)
    except Unreadable as unreadable:
        raise ValueError(f"courier.http.request_config.body cannot be used: {unreadable}") from unreadable
    found = _JSONNET.search(text)
    if found is not None or reference.endswith((".jsonnet", ".libsonnet")):
        line = text.count("\n", 0, found.start()) + 1 if found is not None else 1
        raise ValueError(
            f"courier.http.request_config.body, line {line}: this is Jsonnet, which is not read here. "
            "Write the JSON as a Jinja template, with {{ ctx.recipient | tojson }} for its values"
        )
    return text


class HttpChannel:
    """A server that takes mails by HTTP.

    Args:
        client: guards against private addresses.
        template: a Jinja template of the body; None sends our own form. Raises `ValueError` where it is broken.
    """

    def __init__(
        self,
        client: GuardedClient,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        auth: HttpAuth | None = None,
        template: str | None = None,
    ) -> None:
        self._client, self._url, self._method = client, url, method
        self._headers = {"Content-Type": "application/json", **(headers or {}), **dict([auth.header()] if auth else [])}
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        try:
            self._template = environment.from_string(template) if template is not None else None
        except TemplateError as broken:
            line = getattr(broken, "lineno", 1)
            raise ValueError(f"courier.http.request_config.body, line {line}: {broken}") from broken

    async def send(self, message: CourierMessage) -> None:
        """Send a message. Raises `ChannelFailed`."""
        body = self._body(message)
        if len(body) > MAX_BODY:
            raise ChannelFailed(f"the request would be larger than {MAX_BODY} bytes", permanent=True)
        try:
            answer = await self._client.request(
                self._method,
                self._url,
                headers={**self._headers, "Idempotency-Key": str(message.id)},
                content=body,
                timeout=TIMEOUT,
                max_bytes=MAX_ANSWER,
            )
        except UpstreamFailed as failed:
            raise ChannelFailed(str(failed), permanent=False) from failed
        if answer.ok:
            return
        said = answer.body.decode("utf-8", "replace")
        permanent = 400 <= answer.status < 500 and answer.status not in _TRY_AGAIN
        raise ChannelFailed(
            f"the mail server answered {answer.status}", permanent=permanent, detail=f"{answer.status} {said}"[:500]
        )

    def _body(self, message: CourierMessage) -> bytes:
        known = _known(message)
        if self._template is None:
            return msgspec.json.encode(known)
        try:
            return self._template.render(ctx=known).encode()
        except Exception as broken:  # what an operator's template may raise is not known
            raise ChannelFailed(
                f"the template of the request cannot be filled in ({type(broken).__name__})", permanent=False
            ) from broken


def _known(message: CourierMessage) -> dict[str, Any]:
    return {
        "message_id": str(message.id),
        "recipient": message.recipient,
        "template_type": message.template_type,
        "template_data": dict(message.data),
        "locale": message.locale,
        "subject": message.subject,
        "body": message.body,
        "html": message.html,
    }
