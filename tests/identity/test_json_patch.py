"""RFC 6902: its own examples (appendix A), then attacks."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.identity.json_patch import LARGEST_RESULT, MOST_OPERATIONS, PatchFailed, apply, pointer

EXAMPLES = json.loads(Path(__file__).with_name("rfc6902_appendix_a.json").read_text())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["section"])
def test_an_example_of_the_rfc_has_its_result(example: dict[str, Any]) -> None:
    if "result" in example:
        assert apply(example["document"], example["patch"]) == example["result"]
    else:
        with pytest.raises(PatchFailed):
            apply(example["document"], example["patch"])


class TestPointer:
    @pytest.mark.parametrize(
        ("text", "steps"),
        [
            ("", ()),
            ("/", ("",)),
            ("/a~1b", ("a/b",)),
            ("/m~0n", ("m~n",)),
            # Not "/": the tilde is decoded last (RFC 6901 section 4).
            ("/~01", ("~1",)),
            ("/a//b", ("a", "", "b")),
        ],
    )
    def test_is_read(self, text: str, steps: tuple[str, ...]) -> None:
        assert pointer(text) == steps

    @pytest.mark.parametrize("text", ["a", "~", "/~", "/~2", None, 7, ["a"]])
    def test_is_refused(self, text: object) -> None:
        with pytest.raises(PatchFailed):
            pointer(text)


class TestPatch:
    def test_a_patch_leaves_the_original_document_unchanged(self) -> None:
        document = {"a": [1, {"b": 2}]}
        before = copy.deepcopy(document)
        apply(document, [{"op": "replace", "path": "/a/1/b", "value": 3}, {"op": "remove", "path": "/a/0"}])
        assert document == before

    def test_two_copies_are_independent(self) -> None:
        patch: list[dict[str, Any]] = [
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "add", "path": "/b/x", "value": 1},
        ]
        assert apply({"a": {}}, patch) == {"a": {}, "b": {"x": 1}}

    @pytest.mark.parametrize(
        ("document", "operation"),
        [
            ({}, {"op": "teapot", "path": "/a"}),
            ({}, {"op": ["add"], "path": "/a", "value": 1}),
            ({}, {"path": "/a", "value": 1}),
            ({}, {"op": "add", "path": "/a"}),
            ({}, {"op": "add", "value": 1}),
            ({"a": 1}, {"op": "copy", "path": "/b"}),
            ({"a": 1}, {"op": "replace", "path": "/b", "value": 1}),
            ({"a": 1}, {"op": "remove", "path": ""}),
            ({"a": 1}, {"op": "add", "path": "/a/b", "value": 1}),
            ({"a": [1]}, {"op": "add", "path": "/a/2", "value": 1}),
            ({"a": [1]}, {"op": "add", "path": "/a/01", "value": 1}),
            ({"a": [1]}, {"op": "add", "path": "/a/-1", "value": 1}),
            *(({"a": [1]}, {"op": verb, "path": "/a/-", "value": 1}) for verb in ("remove", "test", "replace")),
            *(({"a": [1]}, {"op": verb, "from": "/a/-", "path": "/b"}) for verb in ("copy", "move")),
            ({"a": [1]}, {"op": "remove", "path": "/a/" + "9" * 5000}),
            ({"a": [1]}, {"op": "remove", "path": "/a/١"}),
            ({"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a/b"}),
            ({"a": 1}, {"op": "test", "path": "/a", "value": True}),
            ({"a": [0]}, {"op": "test", "path": "/a", "value": [False]}),
            ({"a": 1}, {"op": "test", "path": "/a", "value": "1"}),
        ],
    )
    def test_is_refused(self, document: dict[str, Any], operation: dict[str, Any]) -> None:
        with pytest.raises(PatchFailed):
            apply(document, [operation])

    def test_numbers_are_compared_by_value(self) -> None:
        document = {"a": {"b": [1, None]}}
        assert apply(document, [{"op": "test", "path": "/a", "value": {"b": [1.0, None]}}]) == document

    def test_moving_to_the_same_place_changes_nothing(self) -> None:
        assert apply({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}]) == {"a": 1}

    def test_the_refusal_names_the_operation(self) -> None:
        with pytest.raises(PatchFailed, match="Operation 1 "):
            apply({"a": 1}, [{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/b"}])

    def test_doubling_by_copies_ends_early(self) -> None:
        doubling = [{"op": "copy", "from": "/a", "path": f"/a/{i}"} for i in range(40)]
        with pytest.raises(PatchFailed, match="copies too much"):
            apply({"a": {"x": 1}}, doubling)

    def test_copies_are_counted_by_their_bytes(self) -> None:
        copies = [{"op": "copy", "from": "/a", "path": f"/{i}"} for i in range(3)]
        assert len(apply({"a": "x" * 300_000}, copies)) == 4
        with pytest.raises(PatchFailed, match=r"Operation 2 .* copies too much"):
            apply({"a": "x" * 400_000}, copies)

    def test_a_result_of_too_many_bytes_is_refused(self) -> None:
        value = "x" * (LARGEST_RESULT // 2)
        with pytest.raises(PatchFailed, match="more than 5000000 bytes"):
            apply({"a": value}, [{"op": "add", "path": "/b", "value": value}])

    def test_a_document_nests_no_deeper_by_patches_than_a_body_may(self) -> None:
        nested: Any = {}
        for _ in range(20):
            nested = {"a": nested}
        deeper: list[dict[str, Any]] = [
            {"op": "move", "from": "/a", "path": "/b"},
            {"op": "add", "path": "/a", "value": nested},
            {"op": "move", "from": "/b", "path": "/a" * 21},
        ]
        with pytest.raises(PatchFailed, match="would nest too deep"):
            apply({"a": {}}, deeper * 2)
        with pytest.raises(PatchFailed, match="meets a document that nests too deep"):
            apply({"a": {}}, [*deeper * 300, {"op": "copy", "from": "/a", "path": "/c"}])

    def test_a_pointer_of_too_many_steps_is_refused(self) -> None:
        with pytest.raises(PatchFailed, match="32 steps"):
            apply({}, [{"op": "add", "path": "/a" * 33, "value": 1}], create_parents=True)

    def test_the_refusal_says_nothing_of_the_document(self) -> None:
        with pytest.raises(PatchFailed) as refused:
            apply({"a": "secret"}, [{"op": "test", "path": "/a", "value": "guess"}])
        assert "secret" not in str(refused.value)

    def test_too_many_operations_are_refused(self) -> None:
        with pytest.raises(PatchFailed):
            apply({"a": 1}, [{"op": "test", "path": "/a", "value": 1}] * (MOST_OPERATIONS + 1))


class TestParents:
    """What Kratos creates on the path of an `add`, and RFC 6902 does not."""

    @pytest.mark.parametrize(
        ("document", "path", "result"),
        [
            ({"m": None}, "/m/shoe", {"m": {"shoe": 44}}),
            ({}, "/m/shoe", {"m": {"shoe": 44}}),
            ({"m": None}, "/m/shoe/left/size", {"m": {"shoe": {"left": {"size": 44}}}}),
            ({"m": None}, "/m/shoes/-", {"m": {"shoes": [44]}}),
            ({"m": None}, "/m/shoes/0", {"m": {"shoes": [44]}}),
            ({"m": [None]}, "/m/0/size", {"m": [{"size": 44}]}),
            ({"m": {"a": 1}}, "/m/b/c", {"m": {"a": 1, "b": {"c": 44}}}),
        ],
    )
    def test_that_are_missing_or_null_are_created(
        self, document: dict[str, Any], path: str, result: dict[str, Any]
    ) -> None:
        assert apply(document, [{"op": "add", "path": path, "value": 44}], create_parents=True) == result

    @pytest.mark.parametrize(
        ("document", "path"),
        [
            ({"m": 1}, "/m/shoe"),
            ({"m": "text"}, "/m/0"),
            ({"m": False}, "/m/shoe"),
            ({"m": [1]}, "/m/5/size"),
            ({"m": [1]}, "/m/-/size"),
            ({"m": None}, "/m/shoes/7"),
            ({"m": None}, "/m/shoes/" + "9" * 5000),
        ],
    )
    def test_that_are_something_else_or_beyond_an_array_are_refused(self, document: dict[str, Any], path: str) -> None:
        with pytest.raises(PatchFailed):
            apply(document, [{"op": "add", "path": path, "value": 44}], create_parents=True)

    @pytest.mark.parametrize("operation", ["replace", "test"])
    def test_are_created_by_no_other_operation(self, operation: str) -> None:
        with pytest.raises(PatchFailed):
            apply({"m": None}, [{"op": operation, "path": "/m/shoe", "value": 44}], create_parents=True)
