"""Opens connections to PostgreSQL as libpq does: hosts in turn, TLS by `sslmode`, and a server that can be written.

asyncpg has these options too, but for several hosts it has one time limit, and `allow` and `prefer` load no root file.
"""

import random
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]  # asyncpg carries no types
from asyncpg.exceptions import (  # type: ignore[import-untyped]
    CannotConnectNowError,
    ConnectionDoesNotExistError,
    InvalidPasswordError,
    PostgresError,
    TargetServerAttributeNotMatched,
)

from shopkeeper.storage.keepalive import Keepalive
from shopkeeper.storage.server_address import shown
from shopkeeper.storage.tls import ServerRefused, Tls, TlsUnusable

CONNECT_WITHIN: Final = 5.0
"""Seconds to wait for all hosts together, unless the caller says otherwise."""
_STARTUP_PARAMETER: Final = re.compile(r"unsupported startup parameter(?: in options)?: (\w+)")
Host = tuple[str | None, int | None]
"""A host and a port. A host that begins with a slash is the folder of a Unix socket; None is the driver's default."""


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens connections; SQLAlchemy takes `connect` as `async_creator_fn`.

    Args:
        tls: what the DSN says about TLS.
        hosts: where the database may be. They are tried in turn, and share the time limit, so that one which is silent
            does not use up the time of the next.
        session_attrs: libpq's `target_session_attrs`: `any`, `primary` or `read-write`.
        shuffled: whether to try the hosts in random order (`load_balance_hosts=random`).
        direct_tls: whether TLS begins at once (`sslnegotiation=direct`), which PostgreSQL 17 and later understand.
        connect_within: seconds for each host, where that is less than its share.
        keepalive: how the kernel notices that the server is gone.
    """

    tls: Tls = field(default_factory=Tls)
    hosts: tuple[Host, ...] = ()
    session_attrs: str = "any"
    shuffled: bool = False
    direct_tls: bool = False
    connect_within: float | None = None
    keepalive: Keepalive = field(default_factory=Keepalive)

    async def connect(
        self,
        *,
        host: str | None = None,
        port: int | str | None = None,
        timeout: float = CONNECT_WITHIN,  # noqa: ASYNC109 - the driver's argument
        **options: Any,
    ) -> asyncpg.Connection:
        """Open a connection. Raises what the driver raises for the last host, or `ServerRefused` with a sentence.

        Like libpq, this goes on to the next host where one cannot be reached or does not fit, and stops where one
        refuses the user.
        """
        hosts = list(self.hosts) or [(host, int(port) if port is not None else None)]
        if self.shuffled:
            random.shuffle(hosts)
        options["timeout"] = min(timeout / len(hosts), self.connect_within or timeout)
        failures: list[tuple[Host, Exception]] = []
        for candidate in hosts:
            try:
                connection = await self._connect_to(candidate, options)
            except (OSError, CannotConnectNowError, TargetServerAttributeNotMatched) as failed:
                failures.append((candidate, failed))
            else:
                self.keepalive.apply(connection)
                return connection
        told, last = _summary(failures), failures[-1][1]
        if told is last:  # `from` would make it its own cause, and lose what the server said
            raise told
        raise told from last

    async def _connect_to(self, host: Host, options: dict[str, Any]) -> asyncpg.Connection:
        on_socket = host[0] is not None and host[0].startswith("/")
        attempts = (False,) if on_socket else self.tls.attempts  # as in libpq, a Unix socket has no TLS
        failures: list[Exception] = []
        for encrypted in attempts:
            try:
                return await self._attempt(host, options, encrypted=encrypted)
            except (OSError, PostgresError) as failed:
                failures.append(failed)
                if not _may_differ(failed):
                    break
        raise self._worth_telling(failures, host)

    async def _attempt(self, host: Host, options: dict[str, Any], *, encrypted: bool) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=host[0],
            port=host[1],
            ssl=self.tls.context() if encrypted else False,
            direct_tls=True if self.direct_tls and encrypted else None,
            target_session_attrs=self.session_attrs,
            **options,
        )

    def _worth_telling(self, failures: Sequence[Exception], host: Host) -> Exception:
        """Return the failure to raise: a wrong password says more than that the other attempt was refused too."""
        last = next((failed for failed in failures if isinstance(failed, InvalidPasswordError)), failures[-1])
        sentence = self._sentence(last, shown(*host))
        if sentence is None:
            return last
        told = ServerRefused(sentence)
        told.__cause__ = last
        return told

    def _sentence(self, failed: Exception, server: str) -> str | None:
        if isinstance(failed, PostgresError):
            return _refused_by_server(failed, server) or self._about_our_certificate(failed, server)
        if isinstance(failed, ssl.SSLCertVerificationError):
            return (
                f"The certificate of the database at {server} is not trusted ({failed.verify_message.rstrip('.')}):"
                " check sslrootcert and the host's name in the DSN, and the server's certificate."
            )
        if isinstance(failed, ssl.SSLError):
            return (
                f"No TLS connection to {server} ({failed.reason or 'broken off'}): check sslmode, sslcert and sslkey in"
                " the DSN, and the versions of TLS that the server speaks."
            )
        # asyncpg raises a bare ConnectionError where the server answers the request for TLS with no.
        if type(failed) is ConnectionError and "rejected SSL upgrade" in str(failed):
            return (
                f"The database at {server} speaks no TLS, which sslmode={self.tls.mode} asks for: switch it on at the"
                " server, or, in a network that nobody else can read, write sslmode=disable into the DSN."
            )
        return self._about_our_certificate(failed, server) or self._about_closing(failed, server)

    def _about_closing(self, failed: Exception, server: str) -> str | None:
        """Explain a connection that was closed at the request for TLS, where the DSN insists on TLS."""
        closed = type(failed) is ConnectionError or isinstance(failed, ConnectionResetError)
        if not closed or False in self.tls.attempts or server.startswith("/"):
            return None
        return (
            f"{server} closed the connection, or speaks no TLS: check that it is PostgreSQL, and that sslmode in the"
            " DSN fits."
        )

    def _about_our_certificate(self, failed: Exception, server: str) -> str | None:
        """Explain a connection that is closed without a word, as TLS 1.3 ends where our certificate is not trusted."""
        if not (isinstance(failed, ConnectionDoesNotExistError | ConnectionResetError) and self.tls.shows_certificate):
            return None
        if isinstance(failed.__cause__, PostgresError):  # it was not closed without a word
            return None
        return (
            f"{server} closed the connection when our certificate {self.tls.certificate_file} was shown: check that"
            " the server knows its authority (ssl_ca_file), and that it is PostgreSQL."
        )


def _may_differ(failed: Exception) -> bool:
    """Whether an attempt with TLS instead of without, or without instead of with, may end differently."""
    if isinstance(failed, PostgresError):
        return str(getattr(failed, "sqlstate", "")).startswith("28")
    return isinstance(failed, ssl.SSLError | TlsUnusable | ConnectionResetError) or type(failed) is ConnectionError


def _refused_by_server(failed: PostgresError, server: str) -> str | None:
    """Return a sentence for what neither user nor password can mend."""
    said = str(failed)
    parameter = _STARTUP_PARAMETER.search(said)
    if parameter:
        return (
            f"The pooler at {server} (PgBouncer) refuses the start-up parameter {parameter[1]}: take it out of the"
            f" DSN, and set it at the server with ALTER ROLE … SET {parameter[1]} = …."
        )
    code = getattr(failed, "sqlstate", None) or ""
    if code.startswith(_SETTING_REFUSED) and code != _MAY_NOT:
        return f"The database at {server} refuses a setting in the DSN: {said.rstrip('.')}."
    if code != _NOT_ADMITTED:
        return None
    return next((tell.format(server=server) for words, tell in _BY_RULE if words in said), None)


_NOT_ADMITTED: Final = "28000"
_MAY_NOT: Final = "42501"
_SETTING_REFUSED: Final = ("22", "42")
"""Classes of what is wrong with a setting of the session: its value, or its name."""
# Parts of what PostgreSQL says about its pg_hba.conf, the more special first.
_BY_RULE: Final = (
    (
        "no encryption",
        "The database at {server} admits this user only with TLS: write sslmode=verify-full and sslrootcert into the"
        " DSN.",
    ),
    (
        "client certificate",
        "The database at {server} asks for a certificate of ours: name it with sslcert and its key with sslkey in the"
        " DSN, and check that both files are there.",
    ),
    (
        "pg_hba.conf",
        "The database at {server} has no rule that admits this user from here to this database: add one to its"
        " pg_hba.conf, or correct user and database in the DSN.",
    ),
)


def _summary(failures: Sequence[tuple[Host, Exception]]) -> Exception:
    """Return the failure of the only host, or one sentence about all of them."""
    if len(failures) == 1:
        (host, failed) = failures[0]
        return _unfit(host) if isinstance(failed, TargetServerAttributeNotMatched) else failed
    return ServerRefused(f"No host in the DSN can be used: {'; '.join(_reasons(failures))}.")


def _unfit(host: Host) -> ServerRefused:
    return ServerRefused(
        f"The database at {shown(*host)} is read-only, and the DSN asks for one that can be written"
        " (target_session_attrs): name the primary."
    )


def _reasons(failures: Sequence[tuple[Host, Exception]]) -> Iterator[str]:
    for host, failed in failures:
        yield f"{shown(*host)} {_reason(failed)}"


def _reason(failed: Exception) -> str:
    if isinstance(failed, TargetServerAttributeNotMatched):
        return "is read-only"
    if isinstance(failed, CannotConnectNowError):
        return "is starting up or shutting down"
    if isinstance(failed, ServerRefused):
        return f"was refused ({str(failed).rstrip('.')})"
    if isinstance(failed, TimeoutError):
        return "does not answer in time"
    return "cannot be reached"
