"""The base class of all sections of the settings, and the mark of a secret."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr


class Section(BaseModel):
    """A group of settings: frozen, unknown names refused, input values hidden in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class SecretMark:
    """Marks a field that holds a secret: masked in all output, and accepted as `NAME_FILE`."""


SECRET: Final = SecretMark()


def without_line_break(value: Any) -> Any:
    """Return a text without the line breaks at its end, which editors, `echo` and YAML blocks add; other values as they
    are. The rule for every secret, wherever it is written: with and without line break it must be one secret.

    >>> without_line_break("9f3c1b7ae2d0485f\\r\\n")
    '9f3c1b7ae2d0485f'
    """
    return value.rstrip("\r\n") if isinstance(value, str) else value


TRIMMED: Final = BeforeValidator(without_line_break)
Secret = Annotated[SecretStr, TRIMMED, SECRET]
