"""What lasts as long as the process, while the configuration changes: background tasks, counters, and their checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shopkeeper.app.background import Background
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.http.health import Check
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.request_limits import BodyBudget


@dataclass(slots=True)
class ConfigurationCheck:
    """Whether the configuration in effect is the one that is written."""

    refused: bool = False

    async def check(self) -> str | None:
        """Return a sentence where a changed configuration was refused, else None."""
        if not self.refused:
            return None
        return "The configuration has changed and cannot be used: the one before it stays in effect, the log says why."


@dataclass(frozen=True, slots=True)
class Lasting:
    """What all applications of a process share, one after another."""

    metrics: Metrics
    bodies: BodyBudget
    background: Background = field(default_factory=Background)
    configuration: ConfigurationCheck = field(default_factory=ConfigurationCheck)

    @property
    def checks(self) -> Mapping[str, Check]:
        """The checks for the health routes."""
        return {"background": self.background.check, "configuration": self.configuration.check}


def build_lasting(infrastructure: Infrastructure) -> Lasting:
    return Lasting(metrics=Metrics(infrastructure.registry), bodies=BodyBudget(infrastructure.settings.http.max_bodies))
