"""TLS to PostgreSQL as libpq does it: which certificates are loaded and checked, for every `sslmode`.

Rules: PostgreSQL's manual, "SSL Support" of libpq. `require` checks the certificate where there is a root file, and
`verify-full` the host's name as well. `allow` and `prefer` may end without TLS, whatever else is set.
"""

import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM: Final = "system"
"""The value of `sslrootcert` that stands for the certificates that the operating system trusts."""
VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
"""The versions that a DSN may name; older ones are broken (RFC 8996)."""
# PostgreSQL 17 and later ask for it where TLS begins without STARTTLS; others ignore it.
_ALPN: Final = ("postgresql",)
_ONLY_OWNER: Final = stat.S_IRWXG | stat.S_IRWXO
_ALSO_GROUP_MAY_READ: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO


class ServerRefused(ConnectionError):
    """No connection to the database could be made; the text is a whole sentence for the operator."""


class TlsUnusable(ServerRefused):
    """A file of certificates or a key that the DSN names cannot be used."""


@dataclass(frozen=True, slots=True)
class Tls:
    """What a DSN says about TLS; None stands for libpq's default."""

    mode: str = "prefer"
    root: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)
    revoked: str | None = None
    at_least: str | None = None
    at_most: str | None = None
    may_show: bool = True

    @property
    def root_file(self) -> str:
        """The file of the authorities that are trusted, or `system`."""
        return self.root or _default("root.crt")

    @property
    def certificate_file(self) -> str:
        """The file of the certificate to show to the server."""
        return self.certificate or _default("postgresql.crt")

    @property
    def key_file(self) -> str:
        """The file of the certificate's key."""
        return self.key or _default("postgresql.key")

    @property
    def shows_certificate(self) -> bool:
        """Whether there is a certificate that is shown to a server that asks for one."""
        return self.may_show and _is_there(self.certificate_file)

    @property
    def verifies(self) -> bool:
        """Whether the server's certificate must be checked, so that a missing root file is an error."""
        return self.mode.startswith("verify-")

    @property
    def attempts(self) -> tuple[bool, ...]:
        """Whether to use TLS, for each attempt in turn; the second is made where the server refuses the first."""
        return {"disable": (False,), "allow": (False, True), "prefer": (True, False)}.get(self.mode, (True,))

    def remarks(self) -> Iterator[str]:
        """Yield a sentence for each part that protects less than it seems to."""
        if self.root is not None and self.mode in {"allow", "prefer"}:
            yield (
                f"dsn has sslrootcert with sslmode={self.mode}, which goes on without TLS where the certificate is not"
                " trusted; write sslmode=verify-full."
            )
        if self.root is not None and self.mode == "require" and not _is_there(self.root):
            yield (
                f"dsn names {self.root} with sslrootcert, which is not there, so with sslmode=require the server's"
                " certificate is not checked; mend the path, or write sslmode=verify-full."
            )
        if (
            self.certificate is not None
            and self.may_show
            and self.mode != "disable"
            and not _is_there(self.certificate)
        ):
            yield (
                f"dsn names {self.certificate} with sslcert, which is not there, so no certificate is shown to the"
                " server; mend the path, or leave sslcert out."
            )

    def context(self) -> ssl.SSLContext:
        """Return the settings for one connection. Files that were replaced meanwhile are read again.

        Raises `TlsUnusable` with a sentence.
        """
        files = (self.root_file, self.certificate_file, self.key_file, self.revoked or _default("root.crl"))
        return _context(self, tuple(map(_stamp, files)))


def _default(name: str) -> str:
    file = Path("~/.postgresql", name)
    try:
        return str(file.expanduser())
    except RuntimeError:  # this user has no home; there is no such file then
        return str(file)


def _stamp(file: str) -> tuple[int, int] | None:
    """Return what changes when a file is replaced; None where there is no such file, or it cannot be reached."""
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _is_there(file: str) -> bool:
    return _stamp(file) is not None


@lru_cache(maxsize=8)
def _context(tls: Tls, _stamps: tuple[tuple[int, int] | None, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = VERSIONS[tls.at_least or "TLSv1.2"]
    if tls.at_most is not None:
        context.maximum_version = VERSIONS[tls.at_most]
    context.set_alpn_protocols(list(_ALPN))
    _trust(context, tls)
    if tls.shows_certificate:
        _show_certificate(context, tls)
    return context


def _trust(context: ssl.SSLContext, tls: Tls) -> None:
    """Check the server's certificate where there are authorities to trust; without any, only `verify-…` refuses."""
    root = tls.root_file
    if root == SYSTEM:
        context.set_default_verify_paths()
    elif _is_there(root):
        _load_authorities(context, root)
        _load_revoked(context, tls.revoked)
    elif tls.verifies:
        raise TlsUnusable(
            f"sslmode={tls.mode} needs the certificates to trust, and the file {root} is not there: name one with"
            " sslrootcert in the DSN, or write sslrootcert=system for those that the operating system trusts."
        )
    else:
        return
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = tls.mode == "verify-full"


def _load_authorities(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except OSError as broken:  # ssl.SSLError is one
        raise TlsUnusable(
            f"The file {file} (sslrootcert in the DSN) cannot be read as certificates: it must be a file with"
            " certificates in PEM form, which this user may read."
        ) from broken


def _load_revoked(context: ssl.SSLContext, file: str | None) -> None:
    try:
        context.load_verify_locations(cafile=file or _default("root.crl"))
    except OSError as broken:
        if file is None:  # the default need not be there
            return
        raise TlsUnusable(
            f"The file {file} (sslcrl in the DSN) cannot be read as a list of revoked certificates in PEM form."
        ) from broken
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _show_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    certificate, key = tls.certificate_file, tls.key_file
    _require_private(key, certificate=certificate)
    try:
        # Without a password of ours, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: tls.key_password or "")
    except OSError as broken:
        raise TlsUnusable(
            f"The certificate {certificate} and its key {key} cannot be used: both must be in PEM form, belong"
            " together, and be readable for this user; a key with a password needs sslpassword in the DSN."
        ) from broken


def _require_private(key: str, *, certificate: str) -> None:
    """Refuse a key that others may read, by libpq's rule: 0600, or 0640 where it belongs to root."""
    try:
        found = Path(key).stat()
    except OSError as broken:
        raise TlsUnusable(
            f"The certificate {certificate} is there, but not its key {key}: name the key with sslkey in the DSN."
        ) from broken
    if not stat.S_ISREG(found.st_mode):
        raise TlsUnusable(f"The key {key} (sslkey in the DSN) is not a plain file: name the file with the key.")
    if found.st_mode & (_ALSO_GROUP_MAY_READ if found.st_uid == 0 else _ONLY_OWNER):
        raise TlsUnusable(
            f"The key {key} can be read by others: make it private with `chmod 600`, or 640 where it belongs to root."
        )
