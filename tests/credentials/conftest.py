"""The stage of the tests of flows: a whole house with every method, the travelling one included."""

from tests.flows.conftest import staging

__all__ = ["staging"]
