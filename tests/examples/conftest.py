"""Fixtures of the examples: the servers that the pages are read against."""

import pytest

from tests.docs.conftest import express_shop, fastapi_shop, shop  # noqa: F401 - fixtures
from tests.shopkeeper_asgi.conftest import customer  # noqa: F401 - a fixture

pytest.register_assert_rewrite("tests.shopkeeper_asgi.conftest")
