"""The entry point: `shopkeeper`, and `python -m shopkeeper`."""

import gc


def main() -> None:
    """Run the command. The garbage collector is disabled while modules are imported, where it takes a fifth of the
    time, and ignores them later, because they live until the end."""
    gc.disable()
    from shopkeeper.cli import cli  # noqa: PLC0415 - after disabling the collector

    gc.freeze()
    gc.enable()
    cli()


if __name__ == "__main__":
    main()
