"""What every section of the settings has in common, and the mark of a secret."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, SecretStr


class Section(BaseModel):
    """A group of settings: frozen, strict about names, and silent about what was typed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class SecretMark:
    """Marks a field that holds a secret: masked wherever it is shown, and accepted as `NAME_FILE`."""


SECRET: Final = SecretMark()

Secret = Annotated[SecretStr, SECRET]
