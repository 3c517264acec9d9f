"""The command in processes that need not import it: they are forked from one that did, and that does nothing else.

Importing is most of what a short command does, and the tests run some two hundred. Each of its processes is as fresh as
any other: no function of the command was called in the one that it is forked from.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Read by the console of the command, when it is imported. `tests.stories.commands.environment` has the same width.
AT_IMPORT = {"COLUMNS": "400", "TERM": "dumb"}

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload([f"{__package__}.preloaded_command"])


def run_command(arguments: Sequence[str], folder: Path, environ: Mapping[str, str], out: Path, err: Path) -> None:
    """Become the command, run as in this folder and environment, with its output in these files."""
    from shopkeeper.__main__ import main

    for number, file in ((0, Path(os.devnull)), (1, out), (2, err)):
        opened = os.open(file, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["shopkeeper", *arguments]
    main()
