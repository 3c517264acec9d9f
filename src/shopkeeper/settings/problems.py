"""What is wrong with a configuration, in sentences: problems stop the loading, findings are advice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic_core import ErrorDetails

Level = Literal["error", "warning", "notice"]
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A setting that cannot be read or is not allowed. The sentence begins with its path."""

    path: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A remark about a setting that is valid; an `error` stops the start."""

    level: Level
    path: str
    sentence: str


class SettingsError(Exception):
    """A configuration cannot be used. Carries every problem, one sentence each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.sentence for problem in self.problems))


def dotted(path: KeyPath) -> str:
    """Return a path as text.

    >>> dotted(("identity", "schemas", 0, "id"))
    'identity.schemas[0].id'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


# Sentences for pydantic's error types, for the author of a configuration file.
SENTENCES: Final = {
    "missing": "is required",
    "extra_forbidden": "is not a known setting",
    "string_type": "must be text; put it in quotes",
    "string_pattern_mismatch": "is not written as expected, which is {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "must be the path of a file",
    "path_not_file": "names a file that is not there; mend the path or leave it out",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_not_found": "needs {discriminator}, which says what it is",
    "union_tag_invalid": "has a {discriminator} that is not known; there are {expected_tags}",
    "uuid_type": "must be a UUID, as the ids of identities are",
    "uuid_parsing": "must be a UUID, as the ids of identities are",
    "tuple_type": "must be a list",
    "dict_type": "must be a section with names and values",
    "mapping_type": "must be a section with names and values",
    "model_type": "must be a section with names and values",
    "model_attributes_type": "must be a section with names and values",
    "too_short": "must have at least {min_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def explain(error: ErrorDetails) -> str:
    """Explain an error of pydantic. The sentence never contains the value, which may be a secret."""
    context = error.get("ctx", {})
    if error["type"] in {"too_short", "string_too_short"} and context.get("min_length") == 1:
        return "must not be empty"
    if error["type"] == "value_error":
        return str(context["error"])
    sentence = SENTENCES.get(error["type"])
    return sentence.format(**context) if sentence else error["msg"][:1].lower() + error["msg"][1:]
