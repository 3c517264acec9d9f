"""Imports the command, in the process that the tests' commands are forked from."""

import gc
import os

from tests.stories.warm_command import AT_IMPORT

os.environ.update(AT_IMPORT)

import shopkeeper.__main__
import shopkeeper.cli  # noqa: F401 - its console has read the environment

gc.freeze()
