"""Groups and roles as the claims of known providers have them, bounded."""

from typing import Any

import pytest

from shopkeeper.openid.claim_paths import MOST_NAMES, ClaimedNames, Reading, claimed_names

GUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


@pytest.mark.parametrize(
    ("claims", "path", "names"),
    [
        ({"groups": [GUID]}, "groups", (GUID,)),
        ({"roles": ["Shop.Buyer"]}, "roles", ("Shop.Buyer",)),
        ({"realm_access": {"roles": ["buyer", "offline_access"]}}, "realm_access.roles", ("buyer", "offline_access")),
        ({"resource_access": {"shop": {"roles": ["vip"]}}}, "resource_access.shop.roles", ("vip",)),
        ({"cognito:groups": ["Wholesale"]}, "cognito:groups", ("Wholesale",)),
        ({"https://shop.example.org/roles": ["admin"]}, "https://shop.example.org/roles", ("admin",)),
        ({"a.b": ["exact"], "a": {"b": ["nested"]}}, "a.b", ("exact",)),
        ({"resource_access": {"my.shop": {"roles": ["vip"]}}}, "resource_access.my.shop.roles", ("vip",)),
        ({"resource_access": {"a.b.c": {"roles": ["vip"]}}}, "resource_access.a.b.c.roles", ("vip",)),
        ({"https://shop.example.org/x": {"roles": ["vip"]}}, "https://shop.example.org/x.roles", ("vip",)),
        ({"a.b": {"c.d": {"e": ["deep"]}}}, "a.b.c.d.e", ("deep",)),
        ({"a": {"b": {"c": ["nested"]}, "b.c": ["longer"]}}, "a.b.c", ("longer",)),
        ({"a": {"b": {"c": ["nested"]}, "b.c": None}}, "a.b.c", ("nested",)),
        ({"a.b": {"x": 1}, "a": {"b": {"c": ["other way"]}}}, "a.b.c", ("other way",)),
        ({"a": {"b.c": ["one"]}}, "a.b", ()),
        ({"a": {"": {"b": ["of an empty name"]}}}, "a..b", ("of an empty name",)),
        ({"role": "buyer"}, "role", ("buyer",)),
        ({"role": ""}, "role", ()),
        ({"groups": ["b", "a", "b"]}, "groups", ("b", "a")),
        ({"groups": []}, "groups", ()),
        ({}, "groups", ()),
        ({"groups": None}, "groups", ()),
        ({"realm_access": "text"}, "realm_access.roles", ()),
        ({"realm_access": {"roles": None}}, "realm_access.roles", ()),
    ],
)
def test_names_are_read_where_providers_write_them(claims: dict[str, Any], path: str, names: tuple[str, ...]) -> None:
    assert claimed_names(claims, path) == ClaimedNames(names)


@pytest.mark.parametrize(
    "claims",
    [
        {
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": "https://graph.windows.net/t/users/u/getMemberObjects"}},
        },
        {"hasgroups": True},
    ],
    ids=["entra", "entra-implicit"],
)
def test_groups_that_are_elsewhere_are_not_no_groups(claims: dict[str, Any]) -> None:
    assert claimed_names(claims, "groups").reading is Reading.ELSEWHERE
    assert claimed_names(claims, "roles").reading is Reading.COMPLETE


@pytest.mark.parametrize("value", [7, True, {"admin": {}}, 1.5])
def test_what_is_no_list_is_unreadable(value: Any) -> None:
    assert claimed_names({"groups": value}, "groups") == ClaimedNames(reading=Reading.UNREADABLE)


def test_a_list_without_end_is_not_read() -> None:
    assert len(claimed_names({"groups": [f"g{n}" for n in range(MOST_NAMES)]}, "groups").names) == MOST_NAMES
    many = claimed_names({"groups": [f"g{n}" for n in range(MOST_NAMES + 1)]}, "groups")
    assert many == ClaimedNames(reading=Reading.TOO_MANY)


def test_entries_that_are_no_names_are_left_out_and_counted() -> None:
    entries = ["a", 7, None, "", "  ", "x" * 257, "nul\x00", "line\nbreak", "\ud800", ["b"], {"value": "c"}]
    assert claimed_names({"groups": entries}, "groups") == ClaimedNames(("a",), left_out=len(entries) - 1)


def test_a_path_leads_through_few_objects() -> None:
    nested: dict[str, Any] = {"x": ["deep"]}
    for _ in range(20):
        nested = {"x": nested}
    assert claimed_names(nested, ".".join(["x"] * 21)).names == ()


def test_a_path_of_many_dots_takes_little_work() -> None:
    """Each object is looked into once, whatever names it has."""
    name = ".".join(["x"] * 256)
    nested: dict[str, Any] = {}
    for length in range(1, 256):
        nested[".".join(["x"] * length)] = {}
    lookups = 0

    class Counted(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            nonlocal lookups
            lookups += 1
            return super().get(key, default)

    claims = Counted({key: Counted(nested) for key in nested})
    assert claimed_names(claims, name).names == ()
    assert lookups < 256 * (1 + 256 * 2)
