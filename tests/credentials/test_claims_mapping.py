"""Mappers: what an identity is made of, by Jsonnet as Kratos' configurations have it, and without any."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from shopkeeper.credentials.claims_mapping import (
    LARGEST_RESULT,
    JsonnetMapper,
    Mapped,
    MappingFailed,
    SchemaMapper,
)
from shopkeeper.credentials.mapper_claims import mapper_claims
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.values import Identity, State, Via
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.jsonnet.processes import Limits
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.errors import ProviderUnavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ISSUER = "https://idp.example"
ADA = {"email": "ada@shop.example", "given_name": "Ada", "family_name": "L", "name": "Ada L", "locale": "en-GB"}
VERIFIED = {**ADA, "email_verified": True}
ADDRESS = ((Via.EMAIL, "ada@shop.example"),)

# The mapper of the recorded conversations.
RECORDED = """
local c = std.extVar("claims");
{ identity: {
    traits: { [if "email" in c then "email" else null]: c.email, name: { first: c.given_name, last: c.family_name } },
    verified_addresses: std.prune([if "email_verified" in c && c.email_verified then { via: "email", value: c.email }])
} }
"""
# As Kratos' manual teaches it: the address only where it is verified, defaults for what may be missing.
WITH_DEFAULTS = """
local claims = { email_verified: false } + std.extVar('claims');
{
  identity: {
    traits: {
      [if 'email' in claims && claims.email_verified then 'email' else null]: claims.email,
      [if 'hd' in claims then 'company' else null]: claims.hd,
    },
    metadata_public: { via: std.extVar('provider') },
    metadata_admin: { groups: claims.raw_claims.groups, had: std.objectFields(std.extVar('identity').traits) },
  },
}
"""

NO_IDENTITIES = (
    "{}",
    "[]",
    "'ada@shop.example'",
    "{identity: 'ada@shop.example'}",
    "{identity: {}}",
    "{identity: {traits: ['ada@shop.example']}}",
    "{identity: {traits: null}}",
    "{identity: {traits: {}, metadata_public: 7}}",
    "{identity: {traits: {}, metadata_admin: ['ada@shop.example']}}",
    "{identity: {traits: {}, verified_addresses: {}}}",
    "{identity: {traits: {}, verified_addresses: ['ada@shop.example']}}",
    "{identity: {traits: {}, verified_addresses: [{via: 'pigeon', value: 'x'}]}}",
)


def person(claims: Mapping[str, Any], **raw: Any) -> Authenticated:
    return Authenticated(claims, subject="7", issuer=ISSUER, raw_claims=raw)


@pytest.fixture
async def jsonnet() -> AsyncIterator[Jsonnet]:
    evaluator = Jsonnet(Limits(memory=128 * 1024 * 1024), workers=1)
    yield evaluator
    await evaluator.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Jsonnet]:
    """An evaluator that waits for a moment only."""
    evaluator = Jsonnet(Limits(seconds=0.5, waiting=0.01), workers=1)
    yield evaluator
    await evaluator.close()


async def mapped(source: str, jsonnet: Jsonnet, claims: Mapping[str, Any] = VERIFIED, **raw: Any) -> Mapped:
    return await JsonnetMapper(source, jsonnet, provider="idp").map(person(claims, **raw))


async def failure(source: str, jsonnet: Jsonnet) -> MappingFailed:
    with pytest.raises(MappingFailed) as failed:
        await mapped(source, jsonnet)
    assert "shop.example" not in str(failed.value)
    return failed.value


class TestClaims:
    def test_what_is_empty_or_false_is_left_out_as_kratos_does(self) -> None:
        claims = {"email": "", "email_verified": False, "name": None, "phone_number_verified": "false", "updated_at": 0}
        assert mapper_claims(person(claims)) == {"iss": ISSUER, "sub": "7"}

    @pytest.mark.parametrize("verified", [True, "true", "True"])
    def test_a_verified_address_is_so_as_text_and_as_boolean(self, verified: Any) -> None:
        assert mapper_claims(person({"email_verified": verified}))["email_verified"] is True

    @pytest.mark.parametrize("verified", [False, "false", "no", "", 1, ["true"], {"value": True}, None])
    def test_nothing_else_is_a_verified_address(self, verified: Any) -> None:
        assert "email_verified" not in mapper_claims(person({"email_verified": verified}))

    def test_the_locale_of_linkedin_has_two_parts(self) -> None:
        assert mapper_claims(person({"locale": {"country": "US", "language": "en"}}))["locale"] == "en-US"

    def test_what_the_provider_says_besides_is_in_raw_claims_only(self) -> None:
        claims = mapper_claims(person({"sub": "another", "iss": "https://evil.example", "groups": ["a"]}, groups=["a"]))
        assert claims == {"iss": ISSUER, "sub": "7", "raw_claims": {"groups": ["a"]}}

    def test_claims_of_another_type_are_left_out(self) -> None:
        assert mapper_claims(person({"email": ["a@b.example"], "name": 7, "updated_at": "2020-01-01"})).keys() == {
            "iss",
            "sub",
        }


class TestJsonnet:
    async def test_the_recorded_mapper_makes_an_identity(self, jsonnet: Jsonnet) -> None:
        found = await mapped(RECORDED, jsonnet)
        assert found.traits == {"email": "ada@shop.example", "name": {"first": "Ada", "last": "L"}}
        assert found.verified_addresses == ADDRESS

    async def test_an_address_that_is_not_verified_is_a_trait_only(self, jsonnet: Jsonnet) -> None:
        found = await mapped(RECORDED, jsonnet, {**ADA, "email_verified": False})
        assert (found.traits["email"], found.verified_addresses) == ("ada@shop.example", ())

    async def test_metadata_raw_claims_provider_and_identity_are_there(self, jsonnet: Jsonnet) -> None:
        found = await mapped(WITH_DEFAULTS, jsonnet, {**VERIFIED, "hd": "shop.example"}, groups=["staff"])
        assert found.traits == {"email": "ada@shop.example", "company": "shop.example"}
        assert found.metadata_public == {"via": "idp"}
        assert found.metadata_admin == {"groups": ["staff"], "had": []}

    async def test_a_default_stands_for_a_claim_that_is_left_out(self, jsonnet: Jsonnet) -> None:
        assert (await mapped(WITH_DEFAULTS, jsonnet, ADA, groups=[])).traits == {}

    @pytest.mark.parametrize("claims", [ADA, {**ADA, "email_verified": "false"}])
    async def test_a_mapper_alone_verifies_no_address(self, jsonnet: Jsonnet, claims: Mapping[str, Any]) -> None:
        source = "{identity: {traits: {}, verified_addresses: [{via: 'email', value: 'ada@shop.example'}]}}"
        assert (await mapped(source, jsonnet, claims)).verified_addresses == ()
        assert (await mapped(source, jsonnet, VERIFIED)).verified_addresses == ADDRESS

    @pytest.mark.parametrize("address", ["ａda@shop.example", "ada@ｓhop.example", "ad\u200ba@shop.example"], ids=ascii)
    async def test_row_095_an_address_that_only_looks_like_another_is_not_verified(
        self, jsonnet: Jsonnet, address: str
    ) -> None:
        claims = {**VERIFIED, "email": address}
        assert (await mapped(RECORDED, jsonnet, claims)).verified_addresses == ()
        assert (
            await SchemaMapper(schemas(default={"email": TEXT}, member={})).map(person(claims))
        ).verified_addresses == ()
        # Nor does a mapper make the other address of it.
        source = "{identity: {traits: {}, verified_addresses: [{via: 'email', value: 'ada@shop.example'}]}}"
        assert (await mapped(source, jsonnet, claims)).verified_addresses == ()

    @pytest.mark.parametrize("address", ["Ada@SHOP.example", "ada@xn--bcher-kva.example", "ada@bücher.example"])
    async def test_capitals_and_the_form_of_the_domain_do_not_matter(self, jsonnet: Jsonnet, address: str) -> None:
        found = await mapped(RECORDED, jsonnet, {**VERIFIED, "email": address})
        assert [value for _, value in found.verified_addresses] == [address]

    async def test_another_address_than_the_verified_one_is_not_verified(self, jsonnet: Jsonnet) -> None:
        source = "{identity: {traits: {}, verified_addresses: [{via: 'email', value: 'victim@shop.example'}, null]}}"
        assert (await mapped(source, jsonnet)).verified_addresses == ()

    @pytest.mark.parametrize(
        ("source", "line"),
        [
            ("local c = std.extVar('claims');\n{identity: {traits: {nick: c.nickname}}}", 2),
            ("std.extVar('secrets')", 1),
            ("\n\nerror 'ada@shop.example is not welcome'", 3),
        ],
        ids=["missing claim", "unknown variable", "its own error"],
    )
    async def test_a_mapper_that_fails_names_its_line_and_no_claim(
        self, jsonnet: Jsonnet, source: str, line: int
    ) -> None:
        failed = await failure(source, jsonnet)
        assert (failed.cause, failed.line) == ("mapper_fails", line)

    async def test_a_result_that_is_no_identity_is_refused(self, jsonnet: Jsonnet) -> None:
        for source in NO_IDENTITIES:
            assert (await failure(source, jsonnet)).cause == "mapper_result", source

    async def test_row_090_an_endless_mapper_ends(self, hasty: Jsonnet) -> None:
        source = (
            "local r = std.range(1, 20000); "
            "{identity: {traits: {n: std.foldl(function(a, i) std.foldl(function(b, j) b + j, r, a), r, 0)}}}"
        )
        assert (await failure(source, hasty)).cause == "mapper_too_expensive"

    async def test_row_090_a_large_result_is_refused(self, jsonnet: Jsonnet) -> None:
        source = f"{{identity: {{traits: {{ a: std.repeat('x', {LARGEST_RESULT}) }}}}}}"
        assert (await failure(source, jsonnet)).cause == "mapper_too_expensive"

    @pytest.mark.parametrize(
        "reached",
        [
            "import '/etc/passwd'",
            "importstr '/etc/passwd'",
            "std.native('exec')('id')",
            "std.extVar('environ').PATH",
            "(function() __import__('os'))()",
        ],
    )
    async def test_row_090_a_mapper_reaches_nothing_but_the_claims(self, jsonnet: Jsonnet, reached: str) -> None:
        assert (await failure(f"{{identity: {{traits: {{ a: {reached} }}}}}}", jsonnet)).cause in {
            "mapper_fails",
            "mapper_too_expensive",
        }

    async def test_row_090_a_claim_is_never_run(self, jsonnet: Jsonnet) -> None:
        hostile = "'}}; error 'run' + std.extVar(\"claims\") + {a: '"
        found = await mapped("{identity: {traits: {n: std.extVar('claims').name}}}", jsonnet, {"name": hostile})
        assert found.traits == {"n": hostile}

    async def test_where_nothing_can_evaluate_it_the_sign_in_can_be_tried_again(self) -> None:
        busy = Jsonnet(Limits(waiting=0.01), workers=0)
        with pytest.raises(ProviderUnavailable):
            await mapped(RECORDED, busy)


TEXT = {"type": "string"}
FULL_NAME = {"type": "object", "properties": {"first": TEXT, "last": TEXT}}


def schemas(*, default: Mapping[str, Any], member: Mapping[str, Any]) -> Schemas:
    """Return two identity schemas with these traits."""
    documents = {
        name: {"type": "object", "properties": {"traits": {"type": "object", "properties": traits}}}
        for name, traits in (("default", default), ("member", member))
    }
    return Schemas([Schema(name, made, from_traits={}) for name, made in documents.items()], "default")


class TestWithoutJsonnet:
    @pytest.mark.parametrize(
        ("asked", "traits"),
        [
            ({"email": TEXT, "name": FULL_NAME}, {"email": "ada@shop.example", "name": {"first": "Ada", "last": "L"}}),
            ({"email": TEXT, "name": TEXT}, {"email": "ada@shop.example", "name": "Ada L"}),
            ({"given_name": TEXT, "last_name": TEXT}, {"given_name": "Ada", "last_name": "L"}),
            ({"email": TEXT, "picture": TEXT, "phone": TEXT}, {"email": "ada@shop.example"}),
            ({"username": TEXT}, {}),
        ],
        ids=["ours", "one name", "flat names", "claims that are missing", "no trait of a claim"],
    )
    async def test_the_traits_of_the_schema_are_filled(
        self, asked: Mapping[str, Any], traits: Mapping[str, Any]
    ) -> None:
        mapper = SchemaMapper(schemas(default=asked, member={}))
        assert (await mapper.map(person(VERIFIED))).traits == traits
        assert (await mapper.map(person(VERIFIED), schema_id="member")).traits == {}

    async def test_an_identity_has_those_of_its_own_schema(self) -> None:
        mapper = SchemaMapper(schemas(default={"name": FULL_NAME}, member={"name": TEXT}))
        member = (await mapper.map(person(VERIFIED), schema_id="member")).traits
        assert member == {"name": "Ada L"}
        identity = Identity(
            id=uuid4(),
            schema_id="member",
            state=State.ACTIVE,
            state_changed_at=NOW,
            traits=member,
            metadata_public=None,
            metadata_admin=None,
            external_id=None,
            verifiable_addresses=(),
            recovery_addresses=(),
            created_at=NOW,
            updated_at=NOW,
        )
        assert (await mapper.map(person(VERIFIED), identity=identity)).traits == member

    async def test_an_address_is_verified_where_the_provider_says_so(self) -> None:
        mapper = SchemaMapper(schemas(default={"email": TEXT}, member={}))
        assert (await mapper.map(person(VERIFIED))).verified_addresses == ADDRESS
        assert (await mapper.map(person({**ADA, "email_verified": "true"}))).verified_addresses == ADDRESS
        assert (await mapper.map(person(ADA))).verified_addresses == ()
