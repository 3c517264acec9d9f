"""How a PostgreSQL server is named in sentences for the operator."""

from typing import Final

DEFAULT_PORT: Final = 5432


def shown(host: str | None, port: int | str | None) -> str:
    """Return host and port, or the file of a Unix socket where the host is its folder.

    >>> shown("db.example", None), shown("::1", 6432), shown("/run/postgresql", None)
    ('db.example:5432', '[::1]:6432', '/run/postgresql/.s.PGSQL.5432')
    """
    name, port = host or "localhost", port or DEFAULT_PORT
    if name.startswith("/"):
        return f"{name.rstrip('/')}/.s.PGSQL.{port}"
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
