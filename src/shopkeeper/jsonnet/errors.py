"""Why Jsonnet was not evaluated.

::

    JsonnetFailed
    ├── JsonnetInvalid        the source is not Jsonnet
    ├── JsonnetRuntimeError   the evaluation raised an error, also by `error`
    ├── JsonnetTooExpensive   it takes too much time or memory, or is too large
    └── JsonnetUnavailable    nothing is wrong with the source: there is nothing that could evaluate it now
"""

from typing import Final

_CANCEL: Final = "cancel"


class JsonnetFailed(Exception):
    """Raised where Jsonnet was not evaluated.

    `reason` is the rest of a sentence. `line`, from 1, is None where it is unknown.
    """

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        super().__init__(f"line {line}: {reason}" if line is not None else reason)
        self.reason, self.line = reason, line


class JsonnetInvalid(JsonnetFailed):
    """Raised where the source is not Jsonnet, or uses a variable that it does not define."""


class JsonnetRuntimeError(JsonnetFailed):
    """Raised where an evaluation ends in an error. The reason may repeat any of the values that it was given."""

    @property
    def cancelled(self) -> bool:
        """Whether it is `error 'cancel'`, by which Kratos' configuration says that nothing is to be sent."""
        return self.reason == _CANCEL


class JsonnetTooExpensive(JsonnetFailed):
    """Raised where a limit of `Limits` was reached."""


class JsonnetUnavailable(JsonnetFailed):
    """Raised where the library is missing, or all processes are busy."""
