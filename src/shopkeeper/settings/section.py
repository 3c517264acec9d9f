"""What every section of the settings has in common, and the mark of a secret."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr


class Section(BaseModel):
    """A group of settings: frozen, strict about names, and silent about what was typed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class SecretMark:
    """Marks a field that holds a secret: masked wherever it is shown, and accepted as `NAME_FILE`."""


SECRET: Final = SecretMark()


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted secret of digits as a number; a secret is text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Secret = Annotated[SecretStr, BeforeValidator(_as_text), SECRET]
