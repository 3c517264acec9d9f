"""Settings of `tokens.signing`: the keys by which this server signs tokens."""

from datetime import timedelta
from typing import Final, Literal

from pydantic import Field, field_validator

from shopkeeper.settings.section import Section
from shopkeeper.settings.values import Duration, parse_duration

_SHORTEST_TURN: Final = parse_duration("1d")

SigningAlgorithm = Literal["ES256", "EdDSA", "RS256"]


class TokenSigning(Section):
    """The keys by which this server signs tokens."""

    algorithm: SigningAlgorithm = Field(
        default="ES256",
        description="The algorithm of keys that are made: `ES256`, `EdDSA` or `RS256`. After a change, "
        "[rotate the keys](../howto/signing-keys.md)",
    )
    rotate_after: Duration = Field(
        default=parse_duration("90d"),
        description="How long a key signs until the next one does, a day at least; `0s` for rotations by hand only",
    )

    @field_validator("rotate_after")
    @classmethod
    def _long_enough(cls, value: timedelta) -> timedelta:
        if timedelta() < value < _SHORTEST_TURN:
            raise ValueError("must be a day at least, or 0s for rotations by hand only")
        return value
