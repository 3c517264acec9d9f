"""Jsonnet, evaluated by real worker processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from shopkeeper.jsonnet import worker
from shopkeeper.jsonnet.errors import (
    JsonnetFailed,
    JsonnetInvalid,
    JsonnetRuntimeError,
    JsonnetTooExpensive,
    JsonnetUnavailable,
)
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.jsonnet.processes import Limits
from shopkeeper.transaction_guard import CalledInsideTransaction, TransactionScope

MEMORY = 128 * 1024 * 1024
ENDLESS = "local r = std.range(1, 20000); std.foldl(function(a, i) std.foldl(function(b, j) b + j, r, a), r, 0)"


@pytest.fixture
async def jsonnet() -> AsyncIterator[Jsonnet]:
    evaluator = Jsonnet(Limits(memory=MEMORY), workers=1)
    yield evaluator
    await evaluator.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Jsonnet]:
    """An evaluator that waits for a moment only."""
    evaluator = Jsonnet(Limits(seconds=0.5), workers=1)
    yield evaluator
    await evaluator.close()


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if worker.__file__ in child.cmdline()]


class TestWhatItEvaluates:
    async def test_a_function_of_arguments(self, jsonnet: Jsonnet) -> None:
        source = "function(ctx) { to: ctx.recipient, n: std.length(ctx.lines), [if 'x' in ctx then 'x']: 1 }"
        value = await jsonnet.evaluate(source, arguments={"ctx": {"recipient": 'Ana "Ü" 🎈\u2028', "lines": [1, None]}})
        assert json.loads(value) == {"to": 'Ana "Ü" 🎈\u2028', "n": 2}

    async def test_variables_such_as_the_claims_of_a_provider(self, jsonnet: Jsonnet) -> None:
        source = "local claims = std.extVar('claims'); { identity: { traits: { email: claims.email } } }"
        value = await jsonnet.evaluate(source, variables={"claims": {"email": "ana@shop.example"}})
        assert json.loads(value) == {"identity": {"traits": {"email": "ana@shop.example"}}}

    async def test_values_are_never_taken_for_code(self, jsonnet: Jsonnet) -> None:
        evil = '"}, x: importstr "/etc/passwd", y: {"'
        value = await jsonnet.evaluate("function(ctx) ctx", arguments={"ctx": {"recipient": evil}})
        assert json.loads(value) == {"recipient": evil}

    async def test_one_process_serves_many(self, jsonnet: Jsonnet) -> None:
        values = await asyncio.gather(*(jsonnet.evaluate(f"{number} + 1") for number in range(20)))
        assert [json.loads(value) for value in values] == list(range(1, 21))
        assert len(workers()) == 1
        await jsonnet.close()
        assert workers() == []


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("source", "line", "reason"),
        [
            ("{\n  a: 1,,\n}", 2, 'Unexpected: ","'),
            ("{\n  a: b\n}", 2, "Unknown variable: b"),
            ("{ a: 1", 1, "Expected a comma"),
            ("", 1, "Unexpected"),
            ("{{ ctx.recipient }}", 1, "Unexpected"),
        ],
    )
    async def test_what_is_not_jsonnet_with_its_line(
        self, jsonnet: Jsonnet, source: str, line: int, reason: str
    ) -> None:
        for attempt in (jsonnet.check(source), jsonnet.evaluate(source)):
            with pytest.raises(JsonnetInvalid, match=reason) as refused:
                await attempt
            assert refused.value.line == line

    async def test_a_check_evaluates_nothing(self, jsonnet: Jsonnet) -> None:
        await jsonnet.check("function(ctx) { to: ctx.recipient } // what is sent")
        await jsonnet.check("error 'always'")
        await jsonnet.check(ENDLESS)

    async def test_an_error_has_its_reason_and_line(self, jsonnet: Jsonnet) -> None:
        with pytest.raises(JsonnetRuntimeError, match="Field does not exist: nothing") as failed:
            await jsonnet.evaluate("function(ctx)\n{\n  a: ctx.nothing\n}", arguments={"ctx": {}})
        assert failed.value.line == 3
        assert not failed.value.cancelled

    async def test_cancelling_is_told_from_other_errors(self, jsonnet: Jsonnet) -> None:
        for source, cancelled in (("error 'cancel'", True), ("{ a: error 'cancel it' }", False)):
            with pytest.raises(JsonnetRuntimeError) as failed:
                await jsonnet.evaluate(source)
            assert failed.value.cancelled is cancelled

    @pytest.mark.parametrize("keyword", ["import", "importstr", "importbin"])
    async def test_nothing_is_imported(self, jsonnet: Jsonnet, keyword: str, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text('"secret"')
        with pytest.raises(JsonnetRuntimeError, match="imports are switched off") as refused:
            await jsonnet.evaluate(f"{keyword} {json.dumps(str(tmp_path / 'secret'))}")
        assert "secret" not in str(refused.value)


class TestLimits:
    async def test_endless_recursion_ends_with_an_error(self, jsonnet: Jsonnet) -> None:
        with pytest.raises(JsonnetRuntimeError, match="max stack frames exceeded"):
            await jsonnet.evaluate("local f(x) = f(x + 1); f(0)")

    async def test_what_does_not_end_is_ended(self, hasty: Jsonnet) -> None:
        with pytest.raises(JsonnetTooExpensive, match=r"longer than 0\.5 s"):
            await hasty.evaluate(ENDLESS)
        assert workers() == []

    @pytest.mark.parametrize(
        "source", ["std.range(1, 1e9)", "std.repeat('a', 1e9)", "std.makeArray(1e9, function(i) i)"]
    )
    async def test_memory_is_bounded(self, jsonnet: Jsonnet, source: str) -> None:
        with pytest.raises(JsonnetTooExpensive, match="more than 128 MB of memory"):
            await jsonnet.evaluate(source)
        assert json.loads(await jsonnet.evaluate("1 + 1")) == 2  # by the process that takes its place

    async def test_sizes_are_bounded(self) -> None:
        jsonnet = Jsonnet(Limits(source=60, input=100, output=1000))
        try:
            for source, given, what in (
                ("'" + "a" * 60 + "'", None, "larger than 60 bytes"),
                ("function(ctx) 1", {"ctx": "a" * 100}, "values for it are larger than 100 bytes"),
                ("std.repeat('a', 1500)", None, "result is larger than 1000 bytes"),
                ("std.repeat('a', 100000)", None, "result is larger than 1000 bytes"),
            ):
                with pytest.raises(JsonnetTooExpensive, match=what):
                    await jsonnet.evaluate(source, arguments=given)
        finally:
            await jsonnet.close()

    async def test_waiting_for_a_free_process_ends(self) -> None:
        jsonnet = Jsonnet(Limits(waiting=0.1), workers=1)
        busy = asyncio.create_task(jsonnet.evaluate(ENDLESS))
        try:
            while not workers():  # noqa: ASYNC110 - a process that starts tells nothing before it is ready
                await asyncio.sleep(0.01)
            with pytest.raises(JsonnetUnavailable, match="too much to evaluate at once"):
                await jsonnet.evaluate("1")
        finally:
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
        assert workers() == []  # a request that was cancelled takes its process along

    async def test_an_orphan_ends_by_itself(self) -> None:
        """A worker whose server was killed in the middle of an evaluation."""
        library = find_spec("_gojsonnet")
        assert library is not None
        assert library.origin is not None
        folder = str(Path(library.origin).parent)
        text = json.dumps({"source": ENDLESS, "arguments": {}, "variables": {}}).encode()
        arguments = [sys.executable, "-I", "-S", worker.__file__, folder, str(MEMORY), "1"]
        process = await asyncio.to_thread(
            subprocess.run, arguments, input=len(text).to_bytes(worker.LENGTH, "big") + text, capture_output=True
        )
        assert process.returncode < 0


class TestItsProcesses:
    async def test_they_do_not_see_the_servers_environment(
        self, jsonnet: Jsonnet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRETS_COOKIE", "a-secret-of-the-server")
        await jsonnet.evaluate("1")
        (process,) = workers()
        assert "SECRETS_COOKIE" not in process.environ()

    async def test_a_process_that_was_killed_is_replaced(self, jsonnet: Jsonnet) -> None:
        await jsonnet.evaluate("1")
        (process,) = workers()
        process.kill()
        process.wait(5)
        assert await jsonnet.evaluate("2") == b"2\n"

    async def test_the_event_loop_goes_on(self, hasty: Jsonnet) -> None:
        evaluation = asyncio.create_task(hasty.evaluate(ENDLESS))
        turns = 0
        while not evaluation.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 5
        with pytest.raises(JsonnetFailed):
            await evaluation

    async def test_nothing_is_evaluated_while_a_transaction_is_open(self, jsonnet: Jsonnet) -> None:
        scope = TransactionScope()
        scope.enter()
        scope.is_open = True
        try:
            with pytest.raises(CalledInsideTransaction):
                await jsonnet.evaluate("1")
        finally:
            scope.leave()
