"""Fixtures: a password method with what it depends on, and an application with every method."""

from tests.credentials.world import hasher, world
from tests.flows.conftest import staging

__all__ = ["hasher", "staging", "world"]
