"""The marks on the buttons of identity providers: simple drawings of our own, none of them a provider's logo.

A mark is drawn in a square of 24 units. It is decoration: the button's text says which provider it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

INK: Final = "currentColor"
"""The colour of the text, for marks that are black on light pages and white on dark ones."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A coloured shape with a glyph in it.

    Attributes:
        colour: of the shape; `INK` changes with the page.
        letter: written in the shape, where there is no path.
        path: drawn in the shape instead of a letter (SVG path data).
        round: whether the shape is a circle, else a square with round corners.
    """

    colour: str
    letter: str = ""
    path: str = ""
    round: bool = False

    @property
    def ink(self) -> bool:
        """Whether the shape has the colour of the text, so that the glyph must have that of the page."""
        return self.colour == INK


_BRANCH: Final = (
    "M9 6a1.8 1.8 0 0 0-.9 3.35v5.3a1.8 1.8 0 1 0 1.8 0V13c3.5 0 5.4-.9 5.6-2.8a1.8 1.8 0 1 0-1.9-.1"
    "c-.2.7-1.3 1.05-3.7 1.1V9.35A1.8 1.8 0 0 0 9 6Z"
)
_BARS: Final = "M7 10h2v4H7ZM11 7h2v10h-2ZM15 9h2v6h-2Z"
_BUBBLE: Final = "M6 7h12v8h-6l-3.5 3v-3H6Z"
_CLOUD: Final = "M8.5 16.5a3 3 0 0 1-.3-6 4.2 4.2 0 0 1 7.9-.2 3.15 3.15 0 0 1-.2 6.2Z"
_HASH: Final = "M9.5 6h2v3h2.5V6h2v3H18v2h-2v2h2v2h-2v3h-2v-3h-2.5v3h-2v-3H7v-2h2.5v-2H7V9h2.5Zm2 5v2H14v-2Z"
_PLAY: Final = "M9 7l8 5-8 5Z"
_SHIELD: Final = "M12 5.5l5.5 2v4c0 3.5-2.3 5.8-5.5 7-3.2-1.2-5.5-3.5-5.5-7v-4Z"
_TRIANGLE: Final = "M12 6.5l6 10.5H6Z"

MARKS: Mapping[str, Mark] = {
    "amazon": Mark("#b35c00", "A"),
    "apple": Mark(INK, "A", round=True),
    "auth0": Mark("#c2451e", path=_SHIELD),
    "dingtalk": Mark("#1a73c9", "D", round=True),
    "discord": Mark("#5560c9", path=_BUBBLE, round=True),
    "facebook": Mark("#2a63c4", "F", round=True),
    "github": Mark(INK, path=_BRANCH, round=True),
    "gitlab": Mark("#c9501c", path=_TRIANGLE),
    "google": Mark("#3b6fd4", "G", round=True),
    "jackson": Mark("#6b4fa0", "J"),
    "lark": Mark("#2563c9", "L", round=True),
    "line": Mark("#1f8a3b", path=_BUBBLE),
    "linkedin": Mark("#2466a8", "L"),
    "microsoft": Mark("#2a7a86", "M"),
    "netid": Mark("#4f7a1c", "N", round=True),
    "patreon": Mark("#c7433c", "P", round=True),
    "salesforce": Mark("#1f7fb0", path=_CLOUD, round=True),
    "slack": Mark("#7a3b7c", path=_HASH),
    "spotify": Mark("#1f8548", path=_BARS, round=True),
    "twitch": Mark("#7b4fc4", path=_PLAY),
    "uaepass": Mark("#3f7d5c", "U", round=True),
    "vk": Mark("#3a6ea8", "V"),
    "x": Mark(INK, "X"),
    "yandex": Mark("#c4362a", "Y", round=True),
}
"""By the preset of a provider. A generic provider has none: its letter tells it from the shop's other ones."""
_VARIANTS: Final[Mapping[str, str]] = {"github-app": "github", "linkedin_v2": "linkedin"}
_NEUTRAL: Final = "#56616b"


def mark_of(preset: str, label: str) -> Mark:
    """Return the mark of a preset; for one without a drawing, the first letter of the provider's label.

    >>> mark_of("google", "Google").letter, mark_of("generic", " tea house").letter
    ('G', 'T')
    """
    known = MARKS.get(_VARIANTS.get(preset, preset))
    return known or Mark(_NEUTRAL, label.strip()[:1].upper()[:1] or "?")
