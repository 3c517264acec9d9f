"""The entry point: `shopkeeper`, and `python -m shopkeeper`."""

import gc
import os
import signal
import sys

from shopkeeper import __version__

_VERSION = (["--version"], ["version"])
_ENDED_BY_SIGINT = 128 + signal.SIGINT


def main() -> None:
    """Run the command.

    The version is printed ahead of all other imports. While those run, the garbage collector is disabled, which would
    take a fifth of their time; it ignores the modules later, because they live until the end. Ctrl+C
    ends the command quietly, with the status of shells, while nothing has begun that would have to be ended.
    """
    if sys.argv[1:] in _VERSION:
        sys.stdout.write(f"{__version__}\n")
        return
    # A KeyboardInterrupt inside an import would print a traceback, or be swallowed by what is imported.
    ctrl_c = signal.signal(signal.SIGINT, lambda *_: os._exit(_ENDED_BY_SIGINT))
    gc.disable()
    from shopkeeper.cli import cli  # noqa: PLC0415 - after disabling the collector

    signal.signal(signal.SIGINT, ctrl_c)
    gc.freeze()
    gc.enable()
    cli()


if __name__ == "__main__":
    main()
