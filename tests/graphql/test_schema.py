"""The schema as clients see it: a golden file, and what must be true of every field."""

from pathlib import Path

import pytest
from graphql import GraphQLField, GraphQLList, GraphQLObjectType, is_input_object_type, is_object_type, parse

from shopkeeper.graphql.access import OPEN_TO_VISITORS, IsLoggedIn
from shopkeeper.graphql.cost import list_size
from shopkeeper.graphql.schema import core_schema, print_schema

GOLDEN = Path(__file__).with_name("schema.graphql")
SCHEMA = core_schema()
TYPES = [type_ for name, type_ in sorted(SCHEMA.type_map.items()) if not name.startswith("__")]
BUILT_IN = {"String", "Int", "Float", "Boolean", "ID"}
FIELDS = [(type_, name, field) for type_ in TYPES if hasattr(type_, "fields") for name, field in type_.fields.items()]
ROOT = [
    pytest.param(name, field, id=name)
    for root in (SCHEMA.query_type, SCHEMA.mutation_type)
    if root is not None
    for name, field in root.fields.items()
]


def test_the_printed_schema_is_what_clients_generated_their_code_from() -> None:
    assert print_schema() == GOLDEN.read_text(), (
        "The schema changed. Where that is meant: shopkeeper graphql schema > tests/graphql/schema.graphql"
    )


def test_the_printed_schema_is_the_schema_definition_language() -> None:
    assert parse(print_schema()).definitions


def test_everything_has_a_description() -> None:
    mute = [str(type_) for type_ in TYPES if not type_.description and type_.name not in BUILT_IN]
    mute += [f"{type_}.{name}" for type_, name, field in FIELDS if not field.description]
    mute += [
        f"{type_}.{name}({argument})"
        for type_, name, field in FIELDS
        for argument, definition in getattr(field, "args", {}).items()
        if not definition.description
    ]
    assert mute == []


def test_every_list_of_things_says_how_long_it_may_be() -> None:
    unsized = [
        f"{type_}.{name}"
        for type_, name, field in FIELDS
        if is_object_type(type_) and type_.name not in _UNUSED and _is_list_of_things(field)
        if not (list_size(field) or _sized_by_its_page(type_, name))
    ]
    assert unsized == []


def _is_list_of_things(field: GraphQLField) -> bool:
    bare = getattr(field.type, "of_type", field.type)
    return isinstance(bare, GraphQLList) and hasattr(_innermost(bare), "fields")


# No engine has facets, and prices hold one amount.
_UNUSED = {"FacetResult", "FacetField", "FacetRange", "Price"}


def _innermost(type_: object) -> object:
    while hasattr(type_, "of_type"):
        type_ = type_.of_type
    return type_


def _sized_by_its_page(page: GraphQLObjectType, name: str) -> bool:
    sizes = [list_size(param.values[1]) for param in ROOT if _innermost(param.values[1].type) is page]
    return bool(sizes) and all(size is not None and name in (size.sized_fields or ()) for size in sizes)


@pytest.mark.parametrize(("name", "field"), ROOT)
def test_a_root_field_is_open_by_name_or_needs_a_customer(name: str, field: GraphQLField) -> None:
    declared = field.extensions["strawberry-definition"]
    closed = any(isinstance(directive, IsLoggedIn) for directive in declared.directives)
    assert closed is (declared.python_name not in OPEN_TO_VISITORS)


@pytest.mark.parametrize(("name", "field"), ROOT)
def test_a_refused_root_field_takes_no_other_with_it(name: str, field: GraphQLField) -> None:
    assert not hasattr(field.type, "of_type") or isinstance(field.type, GraphQLList)  # it may be null


def test_every_field_that_is_open_exists() -> None:
    assert {param.values[1].extensions["strawberry-definition"].python_name for param in ROOT} >= OPEN_TO_VISITORS


def test_inputs_have_no_lists_without_end() -> None:
    inputs = [type_ for type_ in TYPES if is_input_object_type(type_)]
    assert inputs
    assert not any(_within_itself(type_, type_, depth=5) for type_ in inputs)


def _within_itself(type_: object, sought: object, *, depth: int) -> bool:
    inner = [_innermost(field.type) for field in getattr(type_, "fields", {}).values()]
    return depth > 0 and any(each is sought or _within_itself(each, sought, depth=depth - 1) for each in inner)
