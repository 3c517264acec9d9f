"""Evaluates Jsonnet with the library that Kratos uses, in processes of their own: an evaluation that does not end, or
takes all memory, ends alone. Nothing can be imported.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from shopkeeper.jsonnet.errors import JsonnetInvalid, JsonnetRuntimeError, JsonnetTooExpensive
from shopkeeper.jsonnet.processes import Limits, WorkerProcesses
from shopkeeper.jsonnet.worker import NAME
from shopkeeper.transaction_guard import refuse_inside_transaction

WORKERS: Final = 2
_RUNTIME: Final = "RUNTIME ERROR: "
_PLACE: Final = re.compile(rf"^\s*{NAME}:\(?(?P<line>\d+):\d+(?:-\d+|\)-\(\d+:\d+\))?", re.MULTILINE)


class Jsonnet:
    """Evaluates Jsonnet. A process is started with the first evaluation, and ends with `close`.

    Args:
        limits: what an evaluation may take.
        workers: how many snippets are evaluated at once.

    >>> jsonnet = Jsonnet()
    >>> await jsonnet.evaluate("function(ctx) { to: ctx.recipient }", arguments={"ctx": mail})  # doctest: +SKIP
    b'{"to": "ana@example.com"}'
    """

    def __init__(self, limits: Limits | None = None, *, workers: int = WORKERS) -> None:
        self._limits = limits or Limits()
        self._processes = WorkerProcesses(self._limits, most=workers)

    async def check(self, source: str) -> None:
        """Check a source without evaluating it. Raises `JsonnetFailed`, mostly `JsonnetInvalid`.

        What only an evaluation meets, such as an import or a missing field, is not found.
        """
        try:
            await self._run(f"if false then ({source}\n) else null", {}, {}, lines=source.count("\n") + 1)
        except JsonnetRuntimeError as failed:
            raise JsonnetInvalid(failed.reason, line=failed.line) from failed

    async def evaluate(
        self, source: str, *, arguments: Mapping[str, Any] | None = None, variables: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return the JSON that a source evaluates to. Raises `JsonnetFailed`.

        Args:
            arguments: of the source, where it is a function: values that JSON can express, by name.
            variables: what `std.extVar` returns, by name.
        """
        return await self._run(source, arguments or {}, variables or {}, lines=source.count("\n") + 1)

    async def close(self) -> None:
        """End the processes."""
        await self._processes.close()

    async def _run(self, source: str, arguments: Mapping[str, Any], variables: Mapping[str, Any], lines: int) -> bytes:
        refuse_inside_transaction("Jsonnet")
        request = {"source": source, "arguments": _codes(arguments), "variables": _codes(variables)}
        self._require_small(request)
        answer = await self._processes.ask(request)
        if "error" in answer:
            raise _failure(answer["error"], lines)
        value: bytes = answer["value"].encode()
        if len(value) > self._limits.output:
            raise JsonnetTooExpensive(f"its result is larger than {self._limits.output} bytes")
        return value

    def _require_small(self, request: Mapping[str, Any]) -> None:
        if len(request["source"].encode()) > self._limits.source:
            raise JsonnetTooExpensive(f"it is larger than {self._limits.source} bytes")
        given = sum(len(code.encode()) for part in ("arguments", "variables") for code in request[part].values())
        if given > self._limits.input:
            raise JsonnetTooExpensive(f"the values for it are larger than {self._limits.input} bytes")


def _codes(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as Jsonnet, of which JSON is a part."""
    return {name: msgspec.json.encode(value).decode() for name, value in values.items()}


def _failure(text: str, lines: int) -> JsonnetInvalid | JsonnetRuntimeError:
    """Return what a message of the library says: the reason and, after or before it, the place."""
    place = _PLACE.search(text)
    line = min(int(place["line"]), lines) if place is not None else None
    if text.startswith(_RUNTIME):
        reason = text.removeprefix(_RUNTIME).partition("\n\t")[0]
        return JsonnetRuntimeError(reason.strip(), line=line)
    return JsonnetInvalid(_PLACE.sub("", text).strip().partition("\n")[0].strip(), line=line)
