"""Page tokens and `Link` headers (RFC 8288). A token is sealed and bound to its list: nobody can make one up."""

from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID

from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.errors import BadRequest, InvalidCursor

FIRST = UUID(int=0)


class PageTokens:
    """Seals where a page begins."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def seal(self, after: UUID, *, of: str) -> str:
        """A token for the page that begins after an id, of one list."""
        return self._ring.seal_text(after.bytes, context=of.encode())

    def open(self, token: str | None, *, of: str) -> UUID | None:
        """Where a page begins; nothing for the first. Raises `InvalidCursor`."""
        if not token:
            return None
        try:
            after = UUID(bytes=self._ring.open_text(token, context=of.encode()))
        except (Unsealable, ValueError) as broken:
            raise InvalidCursor("The page token is not one of ours; begin with the first page.") from broken
        return None if after == FIRST else after

    def links(self, path: str, query: Mapping[str, str], *, of: str, next_after: UUID | None) -> str:
        """The `Link` header of a page: where the first one is, and the next if there is one."""
        pages = [("first", FIRST), *([("next", next_after)] if next_after else [])]
        return ",".join(link(path, {**query, "page_token": self.seal(after, of=of)}, rel) for rel, after in pages)


def link(path: str, query: Mapping[str, str], rel: str) -> str:
    """One link, its parameters in alphabetical order."""
    return f'<{path}?{urlencode(sorted(query.items()))}>; rel="{rel}"'


def page_size(text: str | None, *, default: int = 250, most: int = 500) -> int:
    """The size of a page as asked for, within bounds. Raises `BadRequest` for what is no number."""
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise BadRequest("The page size must be a whole number.")
    return min(max(int(text), 1), most)
