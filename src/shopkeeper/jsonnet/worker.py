"""The program of a worker process: it evaluates Jsonnet that it reads from its standard input.

It runs alone, without the rest of Shopkeeper and without the environment of the server: `python -I -S worker.py FOLDER
MEMORY SECONDS`, where `FOLDER` has the library. Every message on its pipes is JSON after its length in four bytes. An
evaluation cannot be interrupted from within, so the kernel ends this process where one takes too much.
"""

import json
import signal
import sys
from typing import Any, BinaryIO, Final

LENGTH: Final = 4
MAX_STACK: Final = 500
"""Calls inside each other, as in Kratos."""
TRACE: Final = 20
"""Places in a message; the first one is shown."""
NAME: Final = "snippet"
"""The name of the source in the library's messages."""
_NO_IMPORTS: Final = "imports are switched off"
_REFUSED_IMPORT: Final = f"error '{_NO_IMPORTS}'".encode()


def main() -> None:
    """Evaluate one request after another until the input ends."""
    folder, memory, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.path.append(folder)
    import _gojsonnet  # type: ignore[import-not-found]  # noqa: PLC0415 - `FOLDER` has it

    _limit(memory)
    _write(sys.stdout.buffer, {"ready": True})
    while (request := _read(sys.stdin.buffer)) is not None:
        # The server ends an evaluation before; this ends one whose server is gone.
        signal.alarm(seconds)
        answer = _evaluate(_gojsonnet, request)
        signal.alarm(0)
        _write(sys.stdout.buffer, answer)


def _limit(memory: int) -> None:
    import resource  # noqa: PLC0415 - not on every system, as the library is not

    # Go reserves far more address space than it uses, so RLIMIT_AS cannot be set.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what it was given may be secret
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _evaluate(library: Any, request: Any) -> dict[str, str]:
    imported: list[str] = []

    def refused(_folder: str, path: str) -> tuple[str, bytes]:
        # Raising here makes the library read beyond the end of the message.
        imported.append(path)
        return path, _REFUSED_IMPORT

    try:
        value = library.evaluate_snippet(
            NAME,
            request["source"],
            max_stack=MAX_STACK,
            max_trace=TRACE,
            tla_codes=request["arguments"],
            ext_codes=request["variables"],
            import_callback=refused,
        )
    except RuntimeError as failed:
        return {"error": str(failed)}
    # `importstr` and `importbin` do not evaluate what they import.
    return {"error": f"RUNTIME ERROR: {_NO_IMPORTS}"} if imported else {"value": value}


def _read(pipe: BinaryIO) -> Any:
    head = pipe.read(LENGTH)
    return json.loads(pipe.read(int.from_bytes(head, "big"))) if len(head) == LENGTH else None


def _write(pipe: BinaryIO, message: dict[str, Any]) -> None:
    text = json.dumps(message).encode()
    pipe.write(len(text).to_bytes(LENGTH, "big") + text)
    pipe.flush()


if __name__ == "__main__":
    main()
