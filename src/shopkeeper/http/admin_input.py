"""What admins send: bodies and query parameters, in the contract's shape (contract page section 1.2).

An unknown field or filter is refused by its name. A misspelt one would otherwise be ignored, and without its filter a
list would show all identities.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request

from shopkeeper.errors import BadRequest, InvalidInput, MalformedBody, UnknownField
from shopkeeper.http.paging import page_size
from shopkeeper.http.requests import read_body, require_uuid
from shopkeeper.identity.builder import AddressInput
from shopkeeper.identity.group_names import group_name_of, readable
from shopkeeper.identity.normalise import LONGEST, normalise_prefix
from shopkeeper.identity.search import IdentitySearch
from shopkeeper.identity.terms import term
from shopkeeper.identity.text_limits import unstorable
from shopkeeper.identity.unique_names import lookup_key
from shopkeeper.identity.values import AddressStatus, State, Via
from shopkeeper.parsing import media_type_of, parse_json
from shopkeeper.sessions.ending import ChosenSessions

MOST_IN_A_BATCH: Final = 1_000
MOST_IDS: Final = 500
EVERY: Final = "*"
MOST_VALUES: Final = 300_000
"""Values in a body: enough for a whole batch of identities with three hundred each."""
LARGEST_LEGACY_PAGE: Final = 1_000
BODY_TYPES: Final = frozenset({"application/json", "application/json-patch+json"})
CREDENTIAL_TYPES: Final = frozenset(
    {
        "code",
        "code_recovery",
        "link_recovery",
        "lookup_secret",
        "oidc",
        "passkey",
        "password",
        "profile",
        "saml",
        "totp",
        "webauthn",
    }
)

_T = TypeVar("_T")


# -- bodies ------------------------------------------------------------------------------------------------------------


class RecoveryAddressBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A recovery address, as an admin sends it."""

    value: str
    via: Via = Via.EMAIL
    id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None

    def read(self) -> AddressInput:
        return AddressInput(value=self.value, via=self.via)


class AddressBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An address to verify, as an admin sends it."""

    value: str
    via: Via = Via.EMAIL
    verified: bool = False
    status: AddressStatus = AddressStatus.PENDING
    verified_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None

    def read(self) -> AddressInput:
        return AddressInput(
            value=self.value, via=self.via, verified=self.verified, status=self.status, verified_at=self.verified_at
        )


class IdentityBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An identity, as an admin sends it."""

    traits: dict[str, Any]
    schema_id: str | None = None
    state: State | None = None
    metadata_public: Any = None
    metadata_admin: Any = None
    external_id: str | None = None
    credentials: dict[str, Any] | None = None
    verifiable_addresses: list[AddressBody] = msgspec.field(default_factory=list)
    recovery_addresses: list[RecoveryAddressBody] = msgspec.field(default_factory=list)
    groups: list[str] | None = None
    organization_id: None = None


class ReplacedIdentityBody(IdentityBody, forbid_unknown_fields=True, kw_only=True):
    """An identity that replaces another one: schema and state are required.

    What an identity has when it is read, and nobody sets, is accepted and ignored, so that one can be read, changed and
    put back.
    """

    schema_id: str
    state: State
    id: Any = None
    schema_url: Any = None
    state_changed_at: Any = None
    created_at: Any = None
    updated_at: Any = None

    def __post_init__(self) -> None:
        if self.credentials is not None:
            self.credentials = _without_those_read(self.credentials)


def _without_those_read(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Return the credentials to set: those as they are read change nothing, and only they name their type."""
    return {name: given for name, given in credentials.items() if not (isinstance(given, dict) and "type" in given)}


class BatchEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One identity of a batch."""

    create: IdentityBody
    patch_id: str | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Several identities at once."""

    identities: list[BatchEntry]


class SessionsBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which sessions to end: of some identities or some by their ids, or `["*"]` for all."""

    action: Literal["disable", "delete"]
    identities: list[str] | None = None
    sessions: list[str] | None = None

    def read(self) -> ChosenSessions:
        """Return the chosen sessions. Raises `InvalidInput`."""
        if (self.identities is None) == (self.sessions is None):
            raise InvalidInput("Give one of 'identities' and 'sessions': a list of ids, or [\"*\"] for all.")
        name, given = ("sessions", self.sessions) if self.identities is None else ("identities", self.identities)
        if given == [EVERY]:
            return ChosenSessions()
        if not given or len(given) > MOST_IDS:
            raise InvalidInput(f"'{name}' takes 1 to {MOST_IDS} ids, or [\"*\"] for all.")
        ids = [require_uuid(text, otherwise=InvalidInput(f"'{name}' has an id that is not a UUID.")) for text in given]
        return ChosenSessions(sessions=ids) if name == "sessions" else ChosenSessions(identities=ids)


async def document_of(request: Request, *, limit: int) -> Any:
    """Return the body.

    Only JSON types are accepted: another site's page needs a CORS preflight to send them, and gets none.
    """
    if media_type_of(request.headers.get("content-type")) not in BODY_TYPES:
        raise MalformedBody(message="Send the body as application/json, a patch as application/json-patch+json.")
    return parse_json(await read_body(request, limit=limit), most_values=MOST_VALUES)


async def body_of(request: Request, type_: type[_T], *, limit: int) -> _T:
    """Return the body, converted to a type. Raises `UnknownField`, `InvalidInput` and `MalformedBody`."""
    document = await document_of(request, limit=limit)
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as invalid:
        raise _refused(invalid) from invalid


def _refused(invalid: msgspec.ValidationError) -> BadRequest:
    """Return the refusal of a JSON body of the wrong shape; for an unknown field the message names it."""
    sentence = str(invalid)
    if "unknown field" in sentence:
        return UnknownField(message=f"The body has a field that is not known here: {sentence}")
    return InvalidInput(f"The body is not what is expected: {sentence}")


# -- query parameters --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IdentityQuery:
    """Which identities an admin asks for, and how much of each.

    Args:
        again: the parameters that the links to other pages must repeat.
    """

    size: int
    page_token: str | None
    ids: Sequence[UUID] | None
    search: IdentitySearch
    configs: frozenset[str]
    again: Mapping[str, str | Sequence[str]]

    @property
    def order(self) -> str:
        """The name of the list for its page tokens: a search by a prefix may have an order of its own."""
        return "identities by identifier" if self.search.is_by_identifier else "identities"


def identity_query(query: QueryParams) -> IdentityQuery:
    """Parse the query for identities. Raises `BadRequest`, which names an unsupported parameter."""
    refuse_unserved(query, served=_IDENTITY_FILTERS, further=_is_trait)
    filters = [name for name, value in query.multi_items() if value and (name in _FILTERS or _is_trait(name))]
    if "ids" in query and filters:
        raise BadRequest("'ids' is not combined with other filters; the others are combined with each other.")
    size = _identity_page(query)
    repeated = {name: sorted(query.getlist(name)) for name in filters if _is_trait(name) or name == _GROUP}
    said = {
        "page_size": str(size),
        **{name: query[name] for name in _FILTERS if name in query and name != _GROUP},
        **repeated,
        "include_credential": sorted(shown_credentials(query)),
    }
    return IdentityQuery(
        size=size,
        page_token=query.get("page_token"),
        ids=[_id(text) for text in query.getlist("ids")] if "ids" in query else None,
        search=IdentitySearch(
            identifier=_searched(query, "credentials_identifier", lookup_key),
            exact=_searched(query, "credentials_identifier", _plain),
            prefix=_searched(query, "preview_credentials_identifier_similar", _prefix),
            state=_searched(query, "state", _state),
            schema_id=_searched(query, "schema_id", _plain),
            terms=_terms(query),
            groups=_groups(query),
        ),
        configs=shown_credentials(query),
        again={name: value for name, value in said.items() if value},
    )


def _searched(query: QueryParams, name: str, read: Callable[[str], _T]) -> _T | None:
    given = query.get(name)
    return read(given) if given else None


def _state(text: str) -> State:
    if text not in list(State):
        raise BadRequest(f"'state' is one of: {', '.join(State)}.")
    return State(text)


def _prefix(text: str) -> str:
    prefix = normalise_prefix(text[:LONGEST])
    if not prefix or unstorable(prefix):
        raise BadRequest("'preview_credentials_identifier_similar' is the beginning of an identifier.")
    return prefix


def _plain(text: str) -> str:
    """Query text that no row can hold as an empty text, which none has."""
    return "" if unstorable(text) else text


def _terms(query: QueryParams) -> Sequence[str]:
    """Return the terms of the traits that are searched for, each once."""
    found: dict[str, None] = {}
    for name, value in query.multi_items():
        if not value or not _is_trait(name):
            continue
        searched = term(name.removeprefix(_TRAIT), value)
        if searched is None or unstorable(searched):
            raise BadRequest(f"'{name[:64]}' has a value that no trait is searched by: it is too long, or no text.")
        found[searched] = None
    if len(found) > MOST_TRAITS:
        raise BadRequest(f"At most {MOST_TRAITS} traits are searched by at once.")
    return tuple(found)


def _groups(query: QueryParams) -> Sequence[str]:
    """Return the names of the groups that are searched for, each once. No group has an unreadable one."""
    given = [text for text in query.getlist(_GROUP) if text]
    names = dict.fromkeys(group_name_of(text) if readable(text) else "" for text in given)
    if len(names) > MOST_GROUPS_SEARCHED:
        raise BadRequest(f"At most {MOST_GROUPS_SEARCHED} groups are searched by at once.")
    return tuple(names)


def _is_trait(name: str) -> bool:
    return name.startswith(_TRAIT) and len(name) > len(_TRAIT)


MOST_TRAITS: Final = 5
_TRAIT: Final = "traits."
MOST_GROUPS_SEARCHED: Final = 5
_GROUP: Final = "group"
_FILTERS: Final = ("credentials_identifier", _GROUP, "preview_credentials_identifier_similar", "schema_id", "state")
# `consistency` is accepted and ignored: all is read from one database, so every response is as consistent as `strong`.
_IDENTITY_FILTERS: Final = (
    "consistency",
    "credentials_identifier",
    "group",
    "ids",
    "include_credential",
    "page",
    "page_size",
    "page_token",
    "per_page",
    "preview_credentials_identifier_similar",
    "schema_id",
    "state",
)


def refuse_unserved(
    query: QueryParams, *, served: Collection[str], further: Callable[[str], bool] = lambda name: False
) -> None:
    """Raise `BadRequest` for the first parameter that is not supported; empty ones are ignored."""
    for name, value in query.multi_items():
        if value and name not in served and not further(name):
            raise BadRequest(f"'{name[:64]}' is not served here; what is: {', '.join(served)}.")


def shown_credentials(query: QueryParams) -> frozenset[str]:
    """Return the credential types whose configuration is shown. Raises `BadRequest` for an unknown type."""
    wanted = frozenset(query.getlist("include_credential"))
    if not wanted <= CREDENTIAL_TYPES:
        raise BadRequest(f"'include_credential' is one of: {', '.join(sorted(CREDENTIAL_TYPES))}.")
    return wanted


def active_or_not(text: str | None) -> bool | None:
    """Return whether active or ended sessions are asked for, None for all. Raises `BadRequest`."""
    if not text:
        return None
    if text.lower() not in _TRUTH:
        raise BadRequest("'active' is 'true' or 'false'.")
    return _TRUTH[text.lower()]


_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


def _identity_page(query: QueryParams) -> int:
    """Return the size of a page; `per_page` is its older name. Page numbers are refused: pages have tokens here."""
    if query.get("page", "0") not in {"", "0"}:
        raise BadRequest("Pages of identities have no numbers here: follow the 'Link' header, it has a page_token.")
    legacy = query.get("per_page")
    if legacy and legacy.isdecimal() and (len(legacy) > 4 or int(legacy) > LARGEST_LEGACY_PAGE):
        raise BadRequest(f"'per_page' is {LARGEST_LEGACY_PAGE} at most.")
    return page_size(query.get("page_size") or legacy)


def _id(text: str) -> UUID:
    return require_uuid(text, otherwise=BadRequest("'ids' has an id that is not a UUID."))
