"""The media type of an answer, negotiated as GraphQL over HTTP describes it (section 6)."""

from functools import lru_cache

from shopkeeper.parsing import parse_accept

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"

LONGEST_HEADER = 300
_WILDCARDS = ("application/*", "*/*")


def media_type(accept: str | None) -> str:
    """Return the media type to answer with: `GRAPHQL` where the client names it and prefers it, else `JSON`.

    A client that accepts neither gets `JSON`, as does one that only sends wildcards.

    >>> media_type("application/graphql-response+json, application/json; q=0.9")
    'application/graphql-response+json'
    >>> media_type("*/*"), media_type(None)
    ('application/json', 'application/json')
    """
    return _negotiated(accept[:LONGEST_HEADER]) if accept else JSON


@lru_cache(256)
def _negotiated(accept: str) -> str:
    wishes = dict(reversed(parse_accept(accept)))
    named = wishes.get(GRAPHQL, 0.0)
    plain = next((wishes[name] for name in (JSON, *_WILDCARDS) if name in wishes), 0.0)
    if named:
        return GRAPHQL if named >= plain else JSON
    # A wildcard includes the new type, and counts where JSON itself is refused.
    any_ = next((wishes[name] for name in _WILDCARDS if name in wishes and GRAPHQL not in wishes), 0.0)
    return GRAPHQL if any_ and not plain else JSON
