"""The HTTP channel: hands mails to a provider's or the operator's own HTTP interface, as Kratos does.

The body is what `request_bodies` makes of a mail. The message's id is the idempotency key, so that a receiver can tell
a repetition from a second mail.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shopkeeper.errors import UpstreamFailed
from shopkeeper.http_client import GuardedClient
from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.request_bodies import OwnForm, RequestBody, UrlEncoded
from shopkeeper.notify.values import CourierMessage

TIMEOUT: Final = 20.0
"""Seconds for a whole call. Shorter than the lease of an outbox event."""
MAX_BODY: Final = 1024 * 1024
MAX_ANSWER: Final = 64 * 1024
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
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


class HttpChannel:
    """A server that takes mails by HTTP.

    Args:
        client: guards against private addresses.
        headers: further ones. With the content type of an HTML form, the body is sent as one.
        body: makes the body; None sends our own form.
    """

    def __init__(
        self,
        client: GuardedClient,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        auth: HttpAuth | None = None,
        body: RequestBody | None = None,
    ) -> None:
        self._client, self._url, self._method = client, url, method
        given = dict(headers or {})
        content_type = next((given.pop(name) for name in list(given) if name.lower() == "content-type"), _JSON)
        self._headers = {**given, "Content-Type": content_type, **dict([auth.header()] if auth else [])}
        is_form = content_type.partition(";")[0].strip().lower() == _FORM
        self._body = UrlEncoded(body or OwnForm()) if is_form else body or OwnForm()

    async def send(self, message: CourierMessage) -> None:
        """Send a message. Raises `ChannelFailed`."""
        body = await self._body.of(message)
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
                status_is_enough=True,
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
