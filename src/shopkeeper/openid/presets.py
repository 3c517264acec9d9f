"""Every provider that `provider` may name in the settings, as data.

The names are those of Kratos' configuration, and Twitch. To add one, add a line to `OPENID_PRESETS`, or to
`OAUTH2_PRESETS` where it speaks OAuth 2 only; `docs/reference/providers.md` has a row for each.
"""

from collections.abc import Mapping
from typing import Final

from shopkeeper.openid.oauth2_presets import OAUTH2_PRESETS
from shopkeeper.openid.openid_presets import OPENID_PRESETS
from shopkeeper.openid.preset import Preset

PRESETS: Final[Mapping[str, Preset]] = {**OPENID_PRESETS, **OAUTH2_PRESETS}
