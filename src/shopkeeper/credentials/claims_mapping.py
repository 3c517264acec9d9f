"""Makes an identity of what an identity provider says about a person: by the operator's Jsonnet, or by the schema.

Jsonnet is what Kratos' configuration has (`mapper_url`). It reads `std.extVar("claims")`, see `mapper_claims.py`,
`std.extVar("provider")`, the provider's id, and `std.extVar("identity")`: the one that is brought up to date, or one
without traits where it registers. Its result is
`{identity: {traits, metadata_public, metadata_admin, verified_addresses: [{via, value}], groups: []}}`; the groups may
stand beside the identity, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import msgspec
import structlog

from shopkeeper.credentials.mapper_claims import is_true, mapper_claims
from shopkeeper.identity.normalise import is_exact
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.values import Identity, Via
from shopkeeper.jsonnet.errors import JsonnetFailed, JsonnetRuntimeError, JsonnetUnavailable
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.errors import ProviderError, ProviderUnavailable

log = structlog.get_logger(__name__)

LARGEST_RESULT: Final = 64 * 1024
"""Bytes of the JSON that a mapper may make."""
_MOST_ADDRESSES: Final = 20
_NOTHING_YET: Final[Mapping[str, Any]] = {"traits": {}, "metadata_public": {}, "metadata_admin": {}}


class MappingFailed(ProviderError):
    """A provider's claims could not be made into an identity. `line`, from 1, is that of the Jsonnet, where known.

    `cause` is `mapper_fails`, `mapper_too_expensive`, or `mapper_result` where the result has another form. No
    sentence says what the mapper said, because that may repeat any claim.
    """

    code = "provider_mapping_failed"
    message = "This shop cannot read what the provider said about you. Choose another way, or tell the shop."

    def __init__(self, *, cause: str, line: int | None = None) -> None:
        super().__init__(cause=cause)
        self.line = line


@dataclass(frozen=True, slots=True)
class Mapped:
    """What an identity is made of. The traits are not validated yet.

    Args:
        verified_addresses: addresses that the mapper calls verified, and that the provider says are.
        groups: all groups that the provider gives; None where the mapper says nothing of them.
    """

    traits: Mapping[str, Any]
    metadata_public: Mapping[str, Any] | None = None
    metadata_admin: Mapping[str, Any] | None = None
    verified_addresses: Sequence[tuple[Via, str]] = ()
    groups: Sequence[str] | None = None


class ClaimsMapper(Protocol):
    """Makes an identity of claims."""

    @property
    def gives_groups(self) -> bool:
        """Whether its result may have groups, so that each sign-in asks it."""
        ...

    async def map(
        self, authenticated: Authenticated, *, schema_id: str | None = None, identity: Identity | None = None
    ) -> Mapped:
        """Return what the identity is made of.

        Args:
            schema_id: the identity schema of the new identity; None for the default one.
            identity: the one that is brought up to date; None for a new one.

        Raises:
            MappingFailed: the mapper fails, is too slow, or its result is not an identity.
            ProviderUnavailable: nothing can evaluate the mapper now.
        """
        ...


_Channel = Literal["email", "phone", "sms"]


class _Address(msgspec.Struct, frozen=True):
    via: _Channel
    value: str


class _Identity(msgspec.Struct, frozen=True):
    traits: dict[str, Any]
    metadata_public: dict[str, Any] | None = None
    metadata_admin: dict[str, Any] | None = None
    verified_addresses: list[_Address | None] | None = None
    groups: list[str] | None = None


class _Result(msgspec.Struct, frozen=True):
    identity: _Identity
    groups: list[str] | None = None


class JsonnetMapper:
    """Makes an identity by the operator's Jsonnet.

    >>> mapper = JsonnetMapper(source, jsonnet, provider="google")  # doctest: +SKIP
    >>> (await mapper.map(authenticated)).traits  # doctest: +SKIP
    {'email': 'ana@example.com'}

    Args:
        source: the Jsonnet; see `Jsonnet.check`.
        provider: the id of the configured provider.
    """

    def __init__(self, source: str, jsonnet: Jsonnet, *, provider: str) -> None:
        self._source, self._jsonnet, self._provider = source, jsonnet, provider

    @property
    def gives_groups(self) -> bool:
        """Whether its text has the name of the member: without it, it returns none."""
        return "groups" in self._source

    async def map(
        self, authenticated: Authenticated, *, schema_id: str | None = None, identity: Identity | None = None
    ) -> Mapped:
        """Return what the identity is made of. Raises `MappingFailed` and `ProviderUnavailable`."""
        claims = mapper_claims(authenticated)
        result = self._read(await self._evaluate(claims, _NOTHING_YET if identity is None else _shown(identity)))
        made = result.identity
        return Mapped(
            made.traits,
            made.metadata_public,
            made.metadata_admin,
            verified_addresses=_proven(made.verified_addresses or (), claims),
            groups=result.groups if made.groups is None else made.groups,
        )

    async def _evaluate(self, claims: Mapping[str, Any], identity: Mapping[str, Any]) -> bytes:
        variables = {"claims": claims, "provider": self._provider, "identity": identity}
        try:
            return await self._jsonnet.evaluate(self._source, variables=variables)
        except JsonnetUnavailable as busy:
            raise ProviderUnavailable(cause="mapper_unavailable") from busy
        except JsonnetRuntimeError as failed:
            raise self._failed("mapper_fails", line=failed.line) from failed
        except JsonnetFailed as failed:
            raise self._failed("mapper_too_expensive", line=failed.line) from failed

    def _read(self, result: bytes) -> _Result:
        if len(result) > LARGEST_RESULT:
            raise self._failed("mapper_too_expensive")
        try:
            return msgspec.json.decode(result, type=_Result)
        except (msgspec.DecodeError, RecursionError) as wrong:
            raise self._failed("mapper_result") from wrong

    def _failed(self, cause: str, *, line: int | None = None) -> MappingFailed:
        log.warning("oidc.mapper_failed", provider=self._provider, reason=cause, line=line)
        return MappingFailed(cause=cause, line=line)


@dataclass(frozen=True, slots=True)
class SchemaMapper:
    """Makes an identity of the claims that the traits of its schema ask for, where the operator has no mapper.

    >>> mapper = SchemaMapper(schemas)  # doctest: +SKIP
    >>> (await mapper.map(authenticated)).traits  # doctest: +SKIP
    {'email': 'ana@example.com', 'name': {'first': 'Ana'}}
    """

    schemas: Schemas

    @property
    def gives_groups(self) -> bool:
        return False

    async def map(
        self, authenticated: Authenticated, *, schema_id: str | None = None, identity: Identity | None = None
    ) -> Mapped:
        """Return what the identity is made of. Raises `InvalidInput` where there is no such schema."""
        schema = self.schemas.require(identity.schema_id if identity is not None else schema_id)
        asked = {field.name for field in schema.fields()}
        claims = mapper_claims(authenticated)
        traits: dict[str, Any] = {}
        for name, claim in CLAIMS_OF_TRAITS.items():
            if f"traits.{name}" in asked and claim in claims:
                *sections, last = name.split(".")
                holder = traits
                for section in sections:
                    holder = holder.setdefault(section, {})
                holder[last] = claims[claim]
        addresses = [_Address(via, claims[claim]) for via, (_, claim, _) in _CLAIMS_OF_VIA.items() if claim in claims]
        return Mapped(traits, verified_addresses=_proven(addresses, claims))


CLAIMS_OF_TRAITS: Final[Mapping[str, str]] = {
    "email": "email",
    "name.first": "given_name",
    "name.last": "family_name",
    "name": "name",
    "given_name": "given_name",
    "family_name": "family_name",
    "first_name": "given_name",
    "last_name": "family_name",
    "phone": "phone_number",
    "phone_number": "phone_number",
    "picture": "picture",
}
"""The claim that a trait of this name is made of by `SchemaMapper`."""

_CLAIMS_OF_VIA: Final[Mapping[_Channel, tuple[Via, str, str]]] = {
    "email": (Via.EMAIL, "email", "email_verified"),
    "sms": (Via.SMS, "phone_number", "phone_number_verified"),
    "phone": (Via.SMS, "phone_number", "phone_number_verified"),
}


def _shown(identity: Identity) -> Mapping[str, Any]:
    """Return an identity as a mapper sees it."""
    return {
        "id": str(identity.id),
        "schema_id": identity.schema_id,
        "state": identity.state.value,
        "traits": identity.traits,
        "metadata_public": identity.metadata_public or {},
        "metadata_admin": identity.metadata_admin or {},
    }


def _proven(addresses: Sequence[_Address | None], claims: Mapping[str, Any]) -> Sequence[tuple[Via, str]]:
    """Return the addresses that the provider says are verified, and that are spelled as they are stored: one that only
    looks like another (row 95 of the attacks) is a mailbox of its own.

    A mapper alone is not enough: one that calls every address verified gives an account to anybody who writes its
    address into a profile of a provider that does not ask for proof.
    """
    proven: dict[tuple[Via, str], None] = {}
    for address in addresses[:_MOST_ADDRESSES]:
        if address is not None:
            via, claim, verified = _CLAIMS_OF_VIA[address.via]
            value, told = address.value.strip(), str(claims.get(claim, "")).strip()
            same = is_exact(value) and is_exact(told) and value.lower() == told.lower()
            if same and is_true(claims.get(verified)):
                proven[(via, value)] = None
    return tuple(proven)
