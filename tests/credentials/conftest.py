"""The fixtures of this folder: a password method in its world, and an app with every method."""

from tests.credentials.world import hasher, world
from tests.flows.conftest import staging

__all__ = ["hasher", "staging", "world"]
