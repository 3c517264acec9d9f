"""The entry point: `shopkeeper`, and `python -m shopkeeper`."""

import gc
import sys

from shopkeeper import __version__

_VERSION = (["--version"], ["version"])


def main() -> None:
    """Run the command.

    The version is printed ahead of all other imports. While those run, the garbage collector is disabled, which would
    take a fifth of their time; it ignores the modules later, because they live until the end.
    """
    if sys.argv[1:] in _VERSION:
        sys.stdout.write(f"{__version__}\n")
        return
    gc.disable()
    from shopkeeper.cli import cli  # noqa: PLC0415 - after disabling the collector

    gc.freeze()
    gc.enable()
    cli()


if __name__ == "__main__":
    main()
