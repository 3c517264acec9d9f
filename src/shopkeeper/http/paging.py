"""Page tokens and `Link` headers (RFC 8288). A token is sealed and bound to its list, so that clients cannot forge one.

The sessions of one identity are few, and the contract numbers their pages: there the number is the token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from starlette.datastructures import QueryParams

from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.errors import BadRequest, InvalidCursor

FIRST = UUID(int=0)
_LONGEST_NUMBER = 6

Query = Mapping[str, str | Sequence[str]]


class PageTokens:
    """Seals and opens page tokens."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def seal(self, after: UUID, *, of: str) -> str:
        """Return a token for the page of a list that begins after an id."""
        return self._ring.seal_text(after.bytes, context=of.encode())

    def open(self, token: str | None, *, of: str) -> UUID | None:
        """Return the id that a page begins after, None for the first page. Raises `InvalidCursor`."""
        if not token:
            return None
        try:
            after = UUID(bytes=self._ring.open_text(token, context=of.encode()))
        except (Unsealable, ValueError) as broken:
            raise InvalidCursor("The page token is not one of ours; begin with the first page.") from broken
        return None if after == FIRST else after

    def seal_text(self, after: str, *, of: str) -> str:
        """Return a token for the page of a list that begins after a text."""
        return self._ring.seal_text(after.encode(), context=_of_texts(of))

    def open_text(self, token: str | None, *, of: str) -> str | None:
        """Return the text that a page begins after, None for the first page. Raises `InvalidCursor`."""
        if not token:
            return None
        try:
            return self._ring.open_text(token, context=_of_texts(of)).decode() or None
        except (Unsealable, ValueError) as broken:
            raise InvalidCursor("The page token is not one of ours; begin with the first page.") from broken

    def links(
        self, path: str, query: Query, *, of: str, next_after: UUID | str | None, first: UUID | str = FIRST
    ) -> str:
        """Return the `Link` header of a page: the first page, and the next if there is one.

        `first` is the empty text for lists whose pages begin after texts.
        """
        pages = [("first", first), *([("next", next_after)] if next_after else [])]
        return ",".join(link(path, {**query, "page_token": self._token(after, of)}, rel) for rel, after in pages)

    def _token(self, after: UUID | str, of: str) -> str:
        return self.seal_text(after, of=of) if isinstance(after, str) else self.seal(after, of=of)


def _of_texts(of: str) -> bytes:
    """Return the context of tokens with texts: none of them is taken for an id."""
    return f"{of}, texts".encode()


@dataclass(frozen=True, slots=True)
class NumberedPage:
    """A page by its number, from 0."""

    number: int
    size: int

    @property
    def skip(self) -> int:
        """How many items precede the page."""
        return self.number * self.size

    def links(self, path: str, *rels: str) -> str:
        """Return the `Link` header with the named pages, of `first`, `next` and `prev`."""
        numbers = {"first": 0, "next": self.number + 1, "prev": self.number - 1}
        return ",".join(link(path, self._query(numbers[rel]), rel) for rel in rels)

    def _query(self, number: int) -> Query:
        sizes = {"page_size": str(self.size), "per_page": str(self.size)}
        return {**sizes, "page": str(number), "page_token": str(number)}


def numbered_page(query: QueryParams) -> NumberedPage:
    """Parse the page, by the contract's newer or older names. Raises `BadRequest` for an invalid size."""
    asked = query.get("page_token") or query.get("page") or ""
    number = int(asked) if asked.isdecimal() and len(asked) <= _LONGEST_NUMBER else 0
    return NumberedPage(number, page_size(query.get("page_size") or query.get("per_page")))


def link(path: str, query: Query, rel: str) -> str:
    """Return one link, its parameters in alphabetical order."""
    return f'<{path}?{urlencode(sorted(query.items()), doseq=True)}>; rel="{rel}"'


def page_size(text: str | None, *, default: int = 250, most: int = 500) -> int:
    """Return the size of a page, within bounds. Raises `BadRequest` if it is not a number."""
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise BadRequest("The page size must be a whole number.")
    return min(max(int(text), 1), most)
