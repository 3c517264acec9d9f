"""The command's way in: `shopkeeper`, and `python -m shopkeeper`."""

import gc


def main() -> None:
    """Runs the command. What is imported stays until the end, so the collector of cycles need not look at it: while
    everything is imported, that alone takes a fifth of the time."""
    gc.disable()
    from shopkeeper.cli import cli  # noqa: PLC0415 - with the collector at rest

    gc.freeze()
    gc.enable()
    cli()


if __name__ == "__main__":
    main()
