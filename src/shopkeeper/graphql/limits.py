"""Limits of one request: text, depth, aliases, and the cost of its answer.

Depth, aliases and size are checked before a document is validated, its cost (`cost.py`) after that, with the variables
of each request. Sizes count what a document is once its fragments are written out, because that is what validating and
executing it takes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
)

from shopkeeper.errors import BadRequest
from shopkeeper.graphql.cost import Cost, QueryTooComplex

MOST_NESTED = 100
"""Levels of fields and fragments, each of which takes a few frames of the stack."""


class QueryTooDeep(BadRequest):
    """The query nests its fields too deep."""

    code = "query_too_deep"


class TooManyAliases(BadRequest):
    """The query has too many aliases."""

    code = "too_many_aliases"


class QueryTooRepetitive(BadRequest):
    """The query repeats a field or a fragment too often: validation compares each pair of fields with the same name."""

    code = "query_too_repetitive"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request. The published client's largest has 329 tokens, depth 10 and cost 28,838.

    Attributes:
        body: the bytes of a request.
        depth: the fields below each other.
        aliases: the aliases of a document.
        complexity: the cost of an operation with its variables.
        tokens: the tokens of a document.
        comments: the comments of a document.
        repeats: the pairs of fields with the same name in a document.
        selections: the fields and fragments of all operations, with every fragment written out where it is spread.
    """

    body: int
    depth: int
    aliases: int
    complexity: int
    tokens: int = 2_000
    comments: int = 1_000
    repeats: int = 5_000
    selections: int = 10_000


def check_shape(document: DocumentNode, limits: Limits) -> int:
    """Refuse a document that is too deep, has too many aliases, or would take long to validate.

    Return the number of its selections, with fragments written out. Raises `QueryTooDeep`, `TooManyAliases` or
    `QueryTooRepetitive`.
    """
    shape = _shape(document)
    if shape is None or shape.depth > limits.depth or shape.nested > MOST_NESTED:
        raise QueryTooDeep(f"The query nests deeper than {limits.depth} fields; ask in two steps.")
    aliases = sum(1 for field in fields_in(document) if field.alias is not None)
    if aliases > limits.aliases:
        raise TooManyAliases(f"The query has {aliases} aliases; {limits.aliases} are taken at most.")
    if shape.selections > limits.selections or _repeats(document) > limits.repeats:
        raise QueryTooRepetitive("The query asks for the same fields too often; ask for each once.")
    return shape.selections


def check_cost(cost: Cost, variables: Mapping[str, Any], most: int) -> None:
    """Raise `QueryTooComplex` for an operation that costs more than `most` with these variables."""
    complexity = cost.given(variables)
    if complexity > most:
        raise QueryTooComplex(
            f"The answer might have {complexity} fields; {most} are given at most."
            " Ask for fewer fields or shorter pages."
        )


def refuse_empty_selections(document: DocumentNode) -> None:
    """Raise `GraphQLSyntaxError` where braces select nothing: graphql-core parses that, although the grammar has no
    such thing (GraphQL, section 2.5), and neither validates nor measures it."""
    for node in _nodes_in(document):
        selections = getattr(node, "selection_set", None)
        if selections is not None and not selections.selections and selections.loc is not None:
            raise GraphQLSyntaxError(selections.loc.source, selections.loc.start, "Expected a selection, found '}'.")


def fields_in(node: Node) -> Iterator[FieldNode]:
    """Yield every field of a document, at any depth."""
    return (each for each in _nodes_in(node) if isinstance(each, FieldNode))


def _nodes_in(node: Node) -> Iterator[Node]:
    """Yield a node, and the definitions and selections below it at any depth.

    Not recursive, so that a deep document cannot overflow the stack.
    """
    pending: list[Node] = [node]
    while pending:
        current = pending.pop()
        yield current
        if isinstance(current, DocumentNode):
            pending.extend(current.definitions)
        selections = getattr(current, "selection_set", None)
        if selections is not None:
            pending.extend(selections.selections)


def operations_in(document: DocumentNode) -> list[OperationDefinitionNode]:
    """Return the operations of a document."""
    return [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]


def _repeats(document: DocumentNode) -> int:
    """Count the pairs of fields that share a name.

    graphql-core checks whether each pair can be merged, which takes seconds for a thousand fields in a few kilobytes.
    """
    named = Counter((node.alias or node.name).value for node in fields_in(document))
    return sum(times * (times - 1) // 2 for times in named.values())


@dataclass(frozen=True, slots=True)
class _Shape:
    """How much is below something: fields below each other, levels of any kind, and selections."""

    depth: int = 0
    nested: int = 0
    selections: int = 0


def _shape(document: DocumentNode) -> _Shape | None:
    """Return the shape of a document, with all operations together; None where it exceeds the stack."""
    shapes = _Shapes(document)
    try:
        operations = [shapes.of(operation.selection_set) for operation in operations_in(document)]
        fragments = shapes.fragments()
    except RecursionError:
        return None
    written_out = sum(each.selections for each in operations)
    return _Shape(
        depth=max((each.depth for each in operations), default=0),
        nested=max((each.nested for each in (*operations, *fragments)), default=0),
        selections=max((written_out, *(each.selections for each in fragments))),
    )


class _Shapes:
    """Measures selection sets.

    Each fragment is measured once. The depth of introspection is not counted, because it nests deep.
    """

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, _Shape] = {}

    def fragments(self) -> list[_Shape]:
        """Return the shapes of all fragments: those that are not spread anywhere are validated as well."""
        return [self._fragment(name) for name in self._fragments]

    def of(self, node: SelectionSetNode) -> _Shape:
        depth = nested = selections = 0
        for selection in node.selections:
            below = self._below(selection)
            depth, nested = max(depth, below.depth), max(nested, below.nested + 1)
            selections += 1 + below.selections
        return _Shape(depth, nested, selections)

    def _below(self, node: Node) -> _Shape:
        if isinstance(node, FieldNode):
            below = self.of(node.selection_set) if node.selection_set else _Shape()
            deeper = 0 if node.name.value.startswith("__") else below.depth
            return _Shape(1 + deeper, below.nested, below.selections)
        if isinstance(node, InlineFragmentNode):
            return self.of(node.selection_set)
        return self._fragment(node.name.value) if isinstance(node, FragmentSpreadNode) else _Shape()

    def _fragment(self, name: str) -> _Shape:
        if name not in self._known:
            self._known[name] = _Shape()  # ends the recursion of a cyclic fragment, which validation refuses
            fragment = self._fragments.get(name)
            self._known[name] = self.of(fragment.selection_set) if fragment else _Shape()
        return self._known[name]
