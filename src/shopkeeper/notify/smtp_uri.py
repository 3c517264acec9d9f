"""The mail server's address: `smtp://` and `smtps://` addresses in Kratos' format.

`smtps` speaks TLS from the first byte (RFC 8314). `smtp` must be upgraded by STARTTLS before anything else is sent, or
the mail is not sent: an attacker on the network can strip an upgrade that is optional.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

FORM: Final = "smtp://user:password@host:587/ or smtps://user:password@host:465/"
SUBJECT: Final = "the mail server's address"
"""What the sentences of errors begin with."""
# A name that is written otherwise may be the rest of a password with a question mark in it, and is not repeated.
_OPTION_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,40}", re.ASCII | re.IGNORECASE)
OPTIONS: Final = frozenset({"skip_ssl_verify", "disable_starttls", "server_name"})
PASSED_OVER: Final = frozenset({"legacy_ssl"})
"""Options of older Kratos releases that change nothing: `smtps` always speaks TLS from the first byte."""
# Go's spelling of booleans, because Kratos' configuration files use it.
BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


@dataclass(frozen=True, slots=True)
class SmtpAddress:
    """A mail server's address, and how strictly its certificate is checked."""

    host: str
    port: int
    implicit_tls: bool
    start_tls: bool
    verify: bool
    server_name: str | None
    username: str | None
    password: str | None = field(repr=False)


def parse_smtp_uri(uri: str) -> SmtpAddress:
    """Parse a mail server's address. Raises `ValueError` with a sentence that repeats no part of it
    but the name of an unknown option.

    >>> parse_smtp_uri("smtp://localhost:1025/?disable_starttls=true").start_tls
    False
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{SUBJECT} cannot be read; write {FORM}") from None
    if parts.scheme not in {"smtp", "smtps"} or not host or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError(f"{SUBJECT} must look like {FORM}")
    options = _options(parts.query)
    implicit = parts.scheme == "smtps"
    start_tls = not implicit and not _flag(options, "disable_starttls")
    return SmtpAddress(
        host=host,
        port=port or _usual_port(implicit_tls=implicit, start_tls=start_tls),
        implicit_tls=implicit,
        start_tls=start_tls,
        verify=not _flag(options, "skip_ssl_verify"),
        server_name=options.get("server_name"),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def passed_over(uri: str) -> list[str]:
    """Return the options of an address that have no effect.

    >>> passed_over("smtps://mail.example/?legacy_ssl=true")
    ['legacy_ssl']
    """
    return sorted(dict(parse_qsl(uri.partition("?")[2], keep_blank_values=True)).keys() & PASSED_OVER)


def tls_context(address: SmtpAddress, *, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Return the TLS settings for this server, with our client certificate, if any. Raises `ValueError`."""
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = address.server_name
    context.load_default_certs()
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        _show(context, certificate, key)
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except OSError as broken:
        sentence = "courier.smtp.client_cert_path, or client_key_path, cannot be read as a certificate and its key"
        raise ValueError(sentence) from broken


class _NamedContext(ssl.SSLContext):
    """Expects a certificate for `server_name`, where that is set, instead of one for the host that is connected to."""

    server_name: str | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        http_client: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, http_client, server_side, self.server_name or server_hostname, session)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - OPTIONS - PASSED_OVER)
    if unknown:
        shown = _OPTION_NAME.fullmatch(unknown[0]) is not None
        named = f"the unknown option {unknown[0]}" if shown else "an unknown option"
        raise ValueError(f"{SUBJECT} has {named}; known are {', '.join(sorted(OPTIONS))}")
    return options


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "false")
    if text not in BOOLEANS:
        raise ValueError(f"{SUBJECT} has {name}, which must be true or false")
    return BOOLEANS[text]


def _usual_port(*, implicit_tls: bool, start_tls: bool) -> int:
    if implicit_tls:
        return 465
    return 587 if start_tls else 25
