"""The body of a request that hands a mail over: our own form, or what the operator's Jsonnet or Jinja makes of it.

Jsonnet is what Kratos' configuration has: a function of `ctx`. It is tried when the server starts. A mail of
which no body can be made is abandoned: a further try would fail in the same way.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlencode, urlsplit

import msgspec
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shopkeeper.http_client import GuardedClient
from shopkeeper.jsonnet.errors import JsonnetFailed, JsonnetInvalid, JsonnetRuntimeError, JsonnetUnavailable
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.notify.channels import ChannelFailed, NotToBeSent
from shopkeeper.notify.references import Unreadable, load
from shopkeeper.notify.samples import sample_messages
from shopkeeper.notify.values import CourierMessage

KRATOS_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "recovery_code_valid": {"recovery_code": "code"},
    "verification_code_valid": {"verification_code": "code"},
    "login_code_valid": {"login_code": "code"},
    "registration_code_valid": {"registration_code": "code"},
}
"""Values that Kratos' template data has under another name, by template."""

_JINJA: Final = (".j2", ".jinja", ".jinja2")
_SETTING: Final = "the body of request_config"


class RequestBody(Protocol):
    """Makes the body of a request."""

    async def of(self, message: CourierMessage) -> bytes:
        """Return the JSON for a mail. Raises `ChannelFailed`."""
        ...


class OwnForm:
    """All that is known of a mail, as JSON."""

    async def of(self, message: CourierMessage) -> bytes:
        """Return the JSON for a mail."""
        return msgspec.json.encode(known(message))


class JinjaBody:
    """What a Jinja template makes of `ctx`.

    Args:
        origin: names the template in errors.

    Raises `ValueError` where the template is broken.
    """

    def __init__(self, source: str, *, origin: str) -> None:
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        try:
            self._template: Template = environment.from_string(source)
        except TemplateError as broken:
            raise _unusable(origin, str(broken), line=getattr(broken, "lineno", None)) from broken

    async def of(self, message: CourierMessage) -> bytes:
        """Return the JSON for a mail. Raises `ChannelFailed`."""
        try:
            return self._template.render(ctx=known(message)).encode()
        except Exception as broken:  # what an operator's template may raise is not known
            what = f"the template of the request cannot be filled in ({type(broken).__name__})"
            raise ChannelFailed(what, permanent=True) from broken


class JsonnetBody:
    """What Jsonnet makes of `ctx`. `error 'cancel'` means that the mail is not to be sent."""

    def __init__(self, source: str, jsonnet: Jsonnet) -> None:
        self._source, self._jsonnet = source, jsonnet

    async def of(self, message: CourierMessage) -> bytes:
        """Return the JSON for a mail. Raises `ChannelFailed`."""
        try:
            return await self._jsonnet.evaluate(self._source, arguments={"ctx": known(message)})
        except JsonnetUnavailable as busy:
            raise ChannelFailed(busy.reason, permanent=False) from busy
        except JsonnetRuntimeError as failed:
            if failed.cancelled:
                raise NotToBeSent("the Jsonnet of the request says not to send it", permanent=True) from failed
            where = f" in line {failed.line}" if failed.line is not None else ""
            what = f"the Jsonnet of the request fails{where}"  # the reason may repeat what the mail says
            raise ChannelFailed(what, permanent=True, detail=f"{what}: {failed.reason}"[:500]) from failed
        except JsonnetFailed as failed:
            # Time and memory may be short on a busy machine, so that it is tried again.
            raise ChannelFailed(
                f"the Jsonnet of the request cannot be evaluated: {failed}", permanent=False
            ) from failed


class UrlEncoded:
    """A body as HTML forms have it, of the texts in a JSON object, as Kratos sends it under this content type."""

    def __init__(self, body: RequestBody) -> None:
        self._body = body

    async def of(self, message: CourierMessage) -> bytes:
        """Return the form for a mail. Raises `ChannelFailed`."""
        try:
            fields = msgspec.json.decode(await self._body.of(message), type=dict[str, str])
        except msgspec.DecodeError as wrong:
            what = "a form is made of a JSON object whose values are texts, which the body of the request is not"
            raise ChannelFailed(what, permanent=True) from wrong
        return urlencode(fields).encode()


async def load_body(reference: str, client: GuardedClient, jsonnet: Jsonnet) -> RequestBody:
    """Load what makes a request's body: Jinja where the name ends in `.j2`, Jsonnet otherwise.

    Raises `ValueError`, with file and line where they are known.
    """
    scheme, _, rest = reference.partition("://")
    origin = unquote(rest) if scheme == "file" else _SETTING
    try:
        source = await load(reference, client)
    except Unreadable as unreadable:
        raise _unusable(origin, str(unreadable), line=unreadable.line) from unreadable
    if urlsplit(reference).path.endswith(_JINJA):
        return await asyncio.to_thread(JinjaBody, source, origin=origin)
    await _check(source, jsonnet, origin=origin)
    return JsonnetBody(source, jsonnet)


async def failures(body: RequestBody) -> Mapping[str, str]:
    """Try a body with sample mails; return why it cannot be made, by template."""
    found: dict[str, str] = {}
    for message in sample_messages():
        try:
            await body.of(message)
        except NotToBeSent:
            continue
        except ChannelFailed as failed:
            found[message.template_type] = failed.detail
    return found


async def _check(source: str, jsonnet: Jsonnet, *, origin: str) -> None:
    try:
        await jsonnet.check(source)
    except JsonnetInvalid as invalid:
        is_jinja = "{%" in source or "{{" in source
        hint = ". A Jinja template is read from a file whose name ends in .j2" if is_jinja else ""
        raise _unusable(origin, f"this is not Jsonnet: {invalid.reason}{hint}", line=invalid.line) from invalid
    except JsonnetFailed as failed:
        raise _unusable(origin, failed.reason, line=failed.line) from failed


def _unusable(origin: str, reason: str, *, line: int | None) -> ValueError:
    setting = _SETTING if origin == _SETTING else f"{_SETTING}, {origin}"
    where = f"{setting}, line {line}" if line is not None else setting
    return ValueError(f"{where}, cannot be used: {reason}")


def known(message: CourierMessage) -> dict[str, Any]:
    """Return all that is known of a mail, with the names of Kratos."""
    data = dict(message.data)
    names = KRATOS_NAMES.get(message.template_type, {})
    return {
        "message_id": str(message.id),
        "message_type": message.type,
        "recipient": message.recipient,
        "template_type": message.template_type,
        "template_data": {**data, **{name: data[ours] for name, ours in names.items() if ours in data}},
        "locale": message.locale,
        "subject": message.subject,
        "body": message.body,
        "html_body": message.html,
    }
