"""Schemas: what breaks a schema, what breaks traits, and what is derived from traits."""

import base64
import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.errors import InvalidInput, MalformedBody, NotFound
from shopkeeper.identity.coercion import Repeated
from shopkeeper.identity.schema import InvalidTraits, Schema, Schemas
from shopkeeper.identity.sources import LARGEST, SchemaBroken
from shopkeeper.identity.values import Via
from tests.identity.conftest import FROM_TRAITS, SIMPLE, read_schema


def schema_of(properties: dict[str, Any], **more: Any) -> Schema:
    traits = {"type": "object", "properties": properties, **more}
    return read_schema(
        "test",
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"traits": traits},
        },
    )


def found(schema: Schema, traits: Any) -> list[tuple[str, int, dict[str, Any]]]:
    return [(one.name, one.message_id, dict(one.context)) for one in schema.validate(traits)]


ADDRESS = {"type": "string", "format": "email"}


class TestViolations:
    @pytest.mark.parametrize(
        ("rule", "value", "number", "context"),
        [
            ({"type": "string", "minLength": 3}, "x", 4000003, {"min_length": 3, "actual_length": 1}),
            ({"type": "string", "maxLength": 2}, "xyz", 4000017, {"max_length": 2, "actual_length": 3}),
            ({"type": "string", "pattern": "^a+$"}, "b", 4000004, {"pattern": "^a+$"}),
            (ADDRESS, "x", 4000040, {"value": "x"}),
            ({"type": "string", "format": "tel"}, "0170", 4000041, {"value": "0170"}),
            ({"type": "integer", "minimum": 18}, 17, 4000018, {"minimum": 18, "actual": 17}),
            ({"type": "number", "exclusiveMinimum": 0}, 0, 4000019, {"exclusive_minimum": 0, "actual": 0}),
            ({"type": "number", "maximum": 1}, 1.5, 4000020, {"maximum": 1, "actual": 1.5}),
            ({"type": "number", "exclusiveMaximum": 9}, 9, 4000021, {"exclusive_maximum": 9, "actual": 9}),
            ({"type": "integer", "multipleOf": 2}, 3, 4000022, {"base": 2, "actual": 3}),
            ({"type": "array", "maxItems": 1}, [1, 2], 4000023, {"max_items": 1, "actual_items": 2}),
            ({"type": "array", "minItems": 1}, [], 4000024, {"min_items": 1, "actual_items": 0}),
            ({"type": "array", "uniqueItems": True}, [1, 2, 1], 4000025, {"index_a": 0, "index_b": 2}),
            ({"type": "string"}, 7, 4000026, {"allowed_types": ["string"], "actual_type": "integer"}),
            (
                {"type": ["string", "null"]},
                [],
                4000026,
                {"allowed_types": ["null", "string"], "actual_type": "array"},
            ),
            ({"const": True}, False, 4000029, {"expected": True}),
            ({"const": {"a": 1}}, {}, 4000030, {}),
        ],
    )
    def test_has_kratos_number_and_context(
        self, rule: dict[str, Any], value: Any, number: int, context: dict[str, Any]
    ) -> None:
        [(name, actual, said)] = found(schema_of({"it": rule}), {"it": value})
        said = {key: sorted(one) if key == "allowed_types" else one for key, one in said.items()}
        assert (name, actual, said) == ("traits.it", number, context)

    @pytest.mark.parametrize(
        ("rule", "value"),
        [
            ({"enum": ["red", "blue"]}, "green"),
            ({"type": "string", "format": "date"}, "1.1.2026"),
            ({"type": "string", "format": "date-time"}, "noon"),
            ({"type": "string", "format": "uri"}, "not a uri"),
            ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, []),
            ({"not": {}}, 1),
            (False, 1),
        ],
    )
    def test_other_rules_come_with_a_reason(self, rule: Any, value: Any) -> None:
        [(name, number, context)] = found(schema_of({"it": rule}), {"it": value})
        assert (name, number, list(context)) == ("traits.it", 4000001, ["reason", "wording"])

    def test_a_missing_trait_is_reported_at_its_own_field(self) -> None:
        name = {"type": "object", "properties": {"first": {}}, "required": ["first"]}
        schema = schema_of({"email": ADDRESS, "name": name}, required=["email"])
        assert found(schema, {"name": {}}) == [
            ("traits.email", 4000002, {"property": "email"}),
            ("traits.name.first", 4000002, {"property": "first"}),
        ]

    def test_the_format_is_reported_before_the_length(self) -> None:
        assert [number for _, number, _ in found(read_schema("default", SIMPLE), {"email": "x"})] == [4000040, 4000003]

    def test_a_format_is_checked_for_texts_only(self) -> None:
        assert [number for _, number, _ in found(schema_of({"email": ADDRESS}), {"email": 7})] == [4000026]

    def test_an_unknown_trait_is_reported_at_the_traits_themselves(self) -> None:
        [(name, number, context)] = found(read_schema("default", SIMPLE), {"email": "ada@example.org", "shoe": 42})
        assert (name, number) == ("traits", 4000001)
        assert "shoe" in context["reason"]

    def test_an_item_of_a_list_has_its_number(self, schemas: Schemas) -> None:
        [violation] = schemas.require("seller").validate({"emails": ["ada@example.org", "nobody"]})
        assert violation.path == ("emails", "1")

    def test_every_violation_makes_a_message(self) -> None:
        [violation] = read_schema("default", SIMPLE).validate({})
        assert "email" in violation.message.text

    def test_the_number_of_violations_is_limited(self) -> None:
        schema = schema_of({"them": {"type": "array", "items": ADDRESS}})
        assert len(schema.validate({"them": ["x"] * 10_000})) == 50

    @pytest.mark.parametrize("traits", [None, "x", 7, [], [{"email": "ada@example.org"}]])
    def test_traits_must_be_an_object(self, traits: Any) -> None:
        assert [name for name, _, _ in found(read_schema("default", SIMPLE), traits)] == ["traits"]

    @pytest.mark.parametrize("value", ["a\x00b", "\ud800", float("nan"), float("inf"), 10**40, {"a\x00": 1}], ids=ascii)
    def test_a_value_that_a_database_cannot_store_is_refused(self, value: Any) -> None:
        [(name, number, _)] = found(schema_of({}), {"deep": [{"it": value}]})
        assert (name, number) == ("traits.deep.0.it", 4000001)

    def test_what_is_nested_too_deep_is_refused(self) -> None:
        nested: Any = 1
        for _ in range(5000):
            nested = {"a": nested}
        assert [number for _, number, _ in found(schema_of({}), nested)] == [4000001]

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8))
    def test_any_json_gets_an_answer(self, value: Any) -> None:
        schema = read_schema("default", SIMPLE)
        for traits in (value, {"email": value}, {"email": "ada@example.org", "name": value}):
            for violation in schema.validate(traits):
                assert violation.message.id == violation.message_id


class TestAddresses:
    @pytest.mark.parametrize(
        "value",
        [
            "ada@example.org,bob@example.org",
            "ada@example.org;bob@example.org",
            "ada@evil.example@example.org",
            "ada@example.org\r\nBcc: bob@example.org",
            "ada@example.org\n",
            '"ada bob"@example.org',
            "Ada <ada@example.org>",
            "ada@[127.0.0.1]",
            "ad\u200ba@example.org",
            "ada＠example.org",
            "@example.org",
            "ada@",
        ],
    )
    @pytest.mark.parametrize("declared", ["email", None], ids=["format email", "no format"])
    def test_an_address_that_could_lead_elsewhere_is_refused(self, value: str, declared: str | None) -> None:
        rule = {"type": "string", "ory.sh/kratos": {"verification": {"via": "email"}}}
        schema = schema_of({"email": {**rule, **({"format": declared} if declared else {})}})
        assert (4000040, {"value": value}) in [
            (number, context) for _, number, context in found(schema, {"email": value})
        ]

    @pytest.mark.parametrize(
        "value", ["ada@example.org", "ADA+shop@EXAMPLE.org", "ada@straße.de", "ada@xn--strae-oqa.de", "ada@shop.test"]
    )
    def test_a_valid_address_is_accepted(self, value: str) -> None:
        assert schema_of({"email": ADDRESS}).validate({"email": value}) == []

    def test_an_unchecked_address_still_goes_to_one_place(self) -> None:
        rule = {"type": "string", "format": "no-validate", "ory.sh/kratos": {"recovery": {"via": "email"}}}
        schema = schema_of({"email": rule})
        assert schema.validate({"email": "old customer 7"}) == []
        assert [number for _, number, _ in found(schema, {"email": "a@b.example,c@d.example"})] == [4000040]

    def test_a_number_that_messages_go_to_is_checked(self) -> None:
        schema = schema_of({"phone": {"type": "string", "ory.sh/kratos": {"verification": {"via": "sms"}}}})
        assert [number for _, number, _ in found(schema, {"phone": "call me"})] == [4000041]
        assert schema.validate({"phone": "+16502530000"}) == []

    # The second grows when it is normalised: one character becomes eighteen.
    @pytest.mark.parametrize("value", ["x" * 321, "\ufdfa" * 20])
    def test_an_identifier_fits_its_column(self, schemas: Schemas, value: str) -> None:
        [(name, number, context)] = found(schemas.require("seller"), {"username": value})
        assert (name, number, context["max_length"]) == ("traits.username", 4000017, 320)


class TestExtraction:
    def test_one_trait_can_be_everything(self, schemas: Schemas) -> None:
        extracted = schemas.default.extract({"email": "Ada@Example.org"})
        address = (Via.EMAIL, "ada@example.org")
        assert extracted.identifiers == dict.fromkeys(("code", "password", "webauthn"), ("ada@example.org",))
        assert (extracted.verifiable, extracted.recovery) == ((address,), (address,))
        assert extracted.addresses == {"code": (address,)}

    def test_lists_and_references_are_followed_and_nothing_comes_twice(self, schemas: Schemas) -> None:
        traits = {
            "emails": ["a@example.org", "B@example.org", "A@example.org"],
            "phone": "+1 650-253-0000",
            "username": "b@example.org",
        }
        extracted = schemas.require("seller").extract(traits)
        assert extracted.identifiers["password"] == ("a@example.org", "b@example.org", "+16502530000")
        assert extracted.identifiers["webauthn"] == ("a@example.org", "b@example.org")
        assert extracted.verifiable == (
            (Via.EMAIL, "a@example.org"),
            (Via.EMAIL, "b@example.org"),
            (Via.SMS, "+16502530000"),
        )
        assert extracted.recovery == ((Via.EMAIL, "a@example.org"), (Via.EMAIL, "b@example.org"))

    def test_nested_traits_and_allof_are_followed(self) -> None:
        login = {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}}
        schema = schema_of({"account": {"allOf": [{"type": "object", "properties": {"login": login}}]}})
        assert schema.extract({"account": {"login": "Ada"}}).identifiers == {"password": ("ada",)}

    def test_a_number_may_identify(self) -> None:
        number = {"type": "integer", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}}
        assert schema_of({"customer": number}).extract({"customer": 4711}).identifiers == {"password": ("4711",)}

    def test_an_identifier_that_is_empty_once_normalised_is_left_out(self, schemas: Schemas) -> None:
        assert schemas.require("seller").extract({"username": "\u200b \u3164"}).identifiers == {}

    def test_a_schema_that_contains_itself_is_followed_for_a_while(self) -> None:
        document = copy.deepcopy(SIMPLE)
        document["definitions"] = {"person": {"properties": {"friend": {"$ref": "#/definitions/person"}}}}
        document["properties"]["traits"]["properties"]["friend"] = {"$ref": "#/definitions/person"}  # type: ignore[index]
        names = [field.name for field in read_schema("default", document).fields()]
        assert names == [
            "traits.email",
            "traits.name.first",
            "traits.name.last",
            "traits.friend.friend.friend",
        ]


class TestFields:
    @pytest.mark.parametrize(
        ("rule", "type_"),
        [
            ({"type": "string"}, "text"),
            ({"type": "integer"}, "number"),
            ({"type": "number"}, "number"),
            ({"type": "boolean"}, "checkbox"),
            ({"type": "string", "format": "date-time"}, "datetime-local"),
            ({"type": "string", "format": "date"}, "date"),
            ({"type": "string", "format": "email"}, "email"),
            ({"type": "string", "format": "tel"}, "tel"),
            ({"type": "string", "format": "uri"}, "url"),
            ({"type": ["null", "integer"]}, "number"),
            ({}, "text"),
        ],
    )
    def test_a_trait_is_an_input(self, rule: dict[str, Any], type_: str) -> None:
        [field] = schema_of({"it": rule}).fields()
        assert field.type == type_

    def test_are_in_the_order_of_the_schema(self, schemas: Schemas) -> None:
        assert [field.name for field in schemas.default.fields()] == [
            "traits.email",
            "traits.name.first",
            "traits.name.last",
        ]

    def test_become_nodes_of_the_contract(self, schemas: Schemas) -> None:
        node = schemas.default.fields()[0].node(value="ada@example.org").to_wire()
        assert list(node["attributes"].items()) == [
            ("name", "traits.email"),
            ("type", "email"),
            ("value", "ada@example.org"),
            ("required", True),
            ("autocomplete", "email"),
            ("disabled", False),
            ("node_type", "input"),
        ]
        assert node["meta"]["label"] == {
            "id": 1070002,
            "text": "E-Mail",
            "type": "info",
            "context": {"name": "traits.email", "title": "E-Mail"},
        }

    @pytest.mark.parametrize(
        ("rule", "shown"),
        [
            ({"format": "email"}, {"autocomplete": "email"}),
            ({"format": "tel"}, {"autocomplete": "tel"}),
            ({"format": "uri"}, {"autocomplete": "url"}),
            ({"format": "date"}, {}),
            ({"pattern": "^[0-9]{6}$"}, {"pattern": "^[0-9]{6}$"}),
        ],
    )
    def test_say_what_is_filled_in_and_how_it_looks(self, rule: dict[str, Any], shown: dict[str, str]) -> None:
        [field] = schema_of({"it": {"type": "string", **rule}}).fields()
        attributes = field.node().to_wire()["attributes"]
        assert {name: attributes[name] for name in ("autocomplete", "pattern") if name in attributes} == shown

    def test_have_choices(self) -> None:
        [field] = schema_of({"country": {"type": "string", "enum": ["DE", "AT"]}}, required=["country"]).fields()
        node = field.node().to_wire()
        assert node["attributes"]["options"] == [{"value": "DE"}, {"value": "AT"}]
        assert node["attributes"]["required"] is True
        assert node["meta"] == {}

    def test_inside_of_what_may_be_missing_none_is_required(self) -> None:
        street = {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]}
        assert [field.required for field in schema_of({"address": street}).fields()] == [False]
        assert [field.required for field in schema_of({"address": street}, required=["address"]).fields()] == [True]

    def test_the_login_form_calls_the_only_identifier_by_its_title(self, schemas: Schemas) -> None:
        label = schemas.default.identifier_label()
        assert (label.id, dict(label.context)) == (1070002, {"name": "traits.email", "title": "E-Mail"})

    def test_the_login_form_does_not_choose_between_several(self, schemas: Schemas) -> None:
        assert schemas.require("seller").identifier_label().id == 1070004
        assert schemas.require("seller").identifier_label(["webauthn"]).id == 1070002
        assert schema_of({}).identifier_label().id == 1070004


class TestCoercion:
    RULES: ClassVar[dict[str, Any]] = {
        "age": {"type": "integer"},
        "score": {"type": "number"},
        "newsletter": {"type": "boolean"},
        "emails": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "name": {"type": "object", "properties": {"first": {"type": "string"}, "rank": {"type": "integer"}}},
    }

    @pytest.mark.parametrize(
        ("flat", "traits"),
        [
            ({"traits.age": "18"}, {"age": 18}),
            ({"traits.age": "18.5"}, {"age": "18.5"}),
            ({"traits.age": "1_8"}, {"age": "1_8"}),
            ({"traits.age": "9" * 5000}, {"age": "9" * 5000}),
            ({"traits.score": "-1.5"}, {"score": -1.5}),
            ({"traits.score": "2"}, {"score": 2}),
            ({"traits.score": "much"}, {"score": "much"}),
            ({"traits.newsletter": "on"}, {"newsletter": True}),
            ({"traits.newsletter": "TRUE"}, {"newsletter": True}),
            ({"traits.newsletter": "false"}, {"newsletter": False}),
            ({"traits.newsletter": "perhaps"}, {"newsletter": "perhaps"}),
            # A value that JSON has typed already stays.
            ({"traits.newsletter": True, "traits.age": 18}, {"newsletter": True, "age": 18}),
            ({"traits.name.first": "Ada", "traits.name.rank": "1"}, {"name": {"first": "Ada", "rank": 1}}),
            ({"traits.emails.1": "b", "traits.emails.0": "a"}, {"emails": ["a", "b"]}),
            ({"traits.emails": "a"}, {"emails": ["a"]}),
            ({"traits.sizes": ["4", "5"]}, {"sizes": [4, 5]}),
            ({"traits.emails": Repeated(["a", "b", ""])}, {"emails": ["a", "b"]}),
            ({"traits.sizes": Repeated(["4", "5"])}, {"sizes": [4, 5]}),
            # Of several values the last one counts: a ticked box follows a hidden field.
            ({"traits.newsletter": Repeated(["false", "true"])}, {"newsletter": True}),
            ({"traits.name.first": Repeated(["Ada", ""])}, {"name": {}}),
            ({"traits.emails.x": "a"}, {"emails": [{"x": "a"}]}),
            # An empty field counts as absent.
            ({"traits.name.first": "", "traits.age": ""}, {}),
            # Kept, so that validation can report the unknown trait.
            ({"traits.shoe": "42"}, {"shoe": "42"}),
            ({"method": "password", "csrf_token": "x", "traitsx": "1"}, {}),
        ],
        ids=repr,
    )
    def test_makes_typed_traits(self, flat: dict[str, Any], traits: dict[str, Any]) -> None:
        assert schema_of(self.RULES).coerce(flat) == traits

    @pytest.mark.parametrize(
        "flat",
        [
            {"traits." + "a." * 20 + "b": "1"},
            {"traits.": "1"},
            {"traits..a": "1"},
            {"traits.name": "x", "traits.name.first": "Ada"},
            {"traits.name.first": "Ada", "traits.name": "x"},
            {f"traits.x{number}": "1" for number in range(501)},
        ],
        ids=["deep", "empty", "empty part", "field then group", "group then field", "many"],
    )
    def test_refuses_malformed_forms(self, flat: dict[str, Any]) -> None:
        with pytest.raises(MalformedBody):
            schema_of(self.RULES).coerce(flat)

    @given(st.dictionaries(st.text("traits.0ab", max_size=12).map("traits.".__add__), st.text(max_size=5), max_size=6))
    def test_any_form_gets_an_answer(self, flat: dict[str, str]) -> None:
        try:
            schema_of(self.RULES).validate(schema_of(self.RULES).coerce(flat))
        except MalformedBody:
            return


def traits_with(**properties: Any) -> dict[str, Any]:
    return {"properties": {"traits": {"type": "object", "properties": properties}}}


class TestBrokenSchema:
    @pytest.mark.parametrize(
        ("document", "says"),
        [
            ({}, "'traits' among them"),
            ({"properties": {"traits": True}}, "'traits' among them"),
            (traits_with(a={"type": "strong"}), "strong"),
            (traits_with(a={"pattern": "("}), "regex"),
            # Lookahead needs backtracking, which does not run in linear time.
            (traits_with(a={"pattern": "(?=a)b"}), "regex"),
            (traits_with(a={"$ref": "https://evil.example/x.json"}), "leads out"),
            (traits_with(a={"$ref": "file:///etc/passwd"}), "leads out"),
            ({**traits_with(), "definitions": {"unused": {"$ref": "other.json"}}}, "leads out"),
            (traits_with(a={"$ref": "#/definitions/none"}), "none"),
            ({"$schema": "https://evil.example/schema", **traits_with()}, "meta-schema"),
            (traits_with(a={"ory.sh/kratos": {"verification": {"via": "emial"}}}), "'emial'"),
            (traits_with(a={"ory.sh/kratos": {"verification": {"via": ["email"]}}}), "only 'email' and 'sms'"),
            (traits_with(a={"ory.sh/kratos": {"credentials": {"password": True}}}), "must be an object"),
            (traits_with(a={"ory.sh/kratos": []}), "must be an object"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_is_refused_with_a_sentence(self, document: dict[str, Any], says: str) -> None:
        with pytest.raises(SchemaBroken) as refusal:
            read_schema("shop", document)
        assert refusal.value.schema_id == "shop"
        assert says in str(refusal.value)
        assert "\n" not in str(refusal.value)


class TestLoading:
    async def test_schemas_are_loaded_from_files_base64_and_the_network(self, tmp_path: Path) -> None:
        raw = json.dumps(SIMPLE).encode()
        (tmp_path / "with space.json").write_bytes(raw)
        asked: list[str] = []

        async def fetch(url: str) -> bytes:
            asked.append(url)
            return raw

        sources = [
            ("file", f"file://{tmp_path}/with%20space.json"),
            ("base64", "base64://" + base64.b64encode(raw).decode()),
            ("web", "https://example.org/schema.json"),
        ]
        schemas = await Schemas.load(sources, "file", from_traits=FROM_TRAITS, fetch=fetch)
        assert [schema.id for schema in schemas.all()] == ["file", "base64", "web"]
        assert all(schema.document == SIMPLE for schema in schemas.all())
        assert schemas.default.id == "file"
        assert asked == ["https://example.org/schema.json"]

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("file:///nowhere/at/all.json", "cannot be read"),
            ("base64://!!!", "not base64"),
            ("base64://" + base64.b64encode(b"{").decode(), "not JSON"),
            ("base64://" + base64.b64encode(b"[]").decode(), "not a JSON object"),
            ("base64://" + base64.b64encode(b"[" * 100_000).decode(), "not JSON"),
            ("base64://" + base64.b64encode(b" " * (LARGEST + 1)).decode(), "larger"),
            ("https://example.org/x", "must begin with"),
            ("ftp://example.org/x", "must begin with"),
            ("schema.json", "must begin with"),
            ("file:", "must begin with"),
        ],
    )
    async def test_what_cannot_be_loaded_is_told(self, url: str, says: str) -> None:
        with pytest.raises(SchemaBroken, match=says):
            await Schemas.load([("shop", url)], "shop", from_traits=FROM_TRAITS)

    async def test_a_file_that_is_too_large_is_not_read_whole(self, tmp_path: Path) -> None:
        (tmp_path / "large.json").write_bytes(b" " * (LARGEST + 1))
        with pytest.raises(SchemaBroken, match="larger"):
            await Schemas.load([("shop", f"file://{tmp_path}/large.json")], "shop", from_traits=FROM_TRAITS)

    def test_the_default_schema_must_exist(self) -> None:
        with pytest.raises(SchemaBroken, match="default schema"):
            Schemas([read_schema("shop", SIMPLE)], "default")


class TestLookup:
    def test_the_id_in_a_url_is_base64url(self, schemas: Schemas) -> None:
        assert schemas.default.url_id == "ZGVmYXVsdA"
        assert schemas.require_public("ZGVmYXVsdA") is schemas.require_public("default") is schemas.default

    def test_no_id_means_the_default(self, schemas: Schemas) -> None:
        assert schemas.require(None) is schemas.default

    def test_an_unknown_id_is_a_bad_request_in_a_body_and_not_found_in_a_url(self, schemas: Schemas) -> None:
        with pytest.raises(InvalidInput):
            schemas.require("no")
        with pytest.raises(NotFound):
            schemas.require_public("no")

    def test_without_a_form_all_violations_are_one_refusal(self, schemas: Schemas) -> None:
        with pytest.raises(InvalidTraits) as refusal:
            schemas.default.require_valid({"email": "x"})
        assert [violation.message_id for violation in refusal.value.violations] == [4000040, 4000003]
        assert "traits.email" in refusal.value.sentence


class TestUnknownTraits:
    @pytest.mark.parametrize(
        ("strict", "left"),
        [
            ({"additionalProperties": False}, {"name": {"first": "Ada"}, "age": "x"}),
            ({}, {"name": {"first": "Ada"}, "age": "x", "team": {"id": 7}}),
        ],
    )
    def test_are_left_out_where_the_schema_refuses_them(self, strict: dict[str, Any], left: dict[str, Any]) -> None:
        name = {"type": "object", "properties": {"first": {"type": "string"}}, "additionalProperties": False}
        schema = schema_of({"name": name, "age": {"type": "integer"}}, **strict)
        traits = {"name": {"first": "Ada", "last": "Fox"}, "age": "x", "team": {"id": 7}}
        assert schema.without_unknown(traits) == left

    def test_in_lists_too(self) -> None:
        item = {"type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": False}
        schema = schema_of({"teams": {"type": "array", "items": item}})
        traits = {"teams": [{"id": 7}, {"id": 8, "name": "x"}]}
        assert schema.without_unknown(traits) == {"teams": [{"id": 7}, {"id": 8}]}
