"""Fixtures: a password method with what it depends on, an application with every method, and a provider."""

from tests.credentials.world import hasher, world
from tests.flows.conftest import staging
from tests.openid.conftest import idp

__all__ = ["hasher", "idp", "staging", "world"]
