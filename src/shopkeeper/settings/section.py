"""The base class of all sections of the settings, and the mark of a secret."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, SecretStr


class Section(BaseModel):
    """A group of settings: frozen, unknown names refused, input values hidden in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class SecretMark:
    """Marks a field that holds a secret: masked in all output, and accepted as `NAME_FILE`."""


SECRET: Final = SecretMark()

Secret = Annotated[SecretStr, SECRET]
