"""Versions of what the admin API changes: `ETag` and `If-Match` (RFC 9110, sections 8.8.3 and 13.1.1)."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from starlette.requests import Request

_TAG: Final = re.compile(r'(?:W/)?"([0-9]{1,9})"', re.ASCII)
_ANY: Final = "*"
_MOST: Final = 1_024
"""Characters of the header that are read."""


def etag_of(version: int) -> Mapping[str, str]:
    """Return the header that names a version.

    >>> etag_of(7)
    {'ETag': '"7"'}
    """
    return {"ETag": f'"{version}"'}


def expected_versions(request: Request) -> Collection[int] | None:
    """Return the versions that a change may be made from; None where the request does not say, or says any.

    A tag that is none of ours matches no version. Weak tags count: proxies that compress answers make ours weak.
    """
    given = ",".join(request.headers.getlist("if-match")).strip()
    if not given or given == _ANY:
        return None
    found = (_TAG.fullmatch(tag.strip()) for tag in given[:_MOST].split(","))
    return frozenset(int(tag[1]) for tag in found if tag is not None)
