"""The server that the examples of the documentation run against, started by the real command as the pages say."""

import base64
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.services.examples import SHOWN_EXPRESS, SHOWN_FASTAPI, start_express_shop, start_fastapi_shop
from tests.services.install import NotInstalled
from tests.services.server import Server, share
from tests.services.shopkeeper_server import Commerce, share_shopkeeper, start_shopkeeper

SHOWN_PUBLIC = "http://127.0.0.1:4433"
SHOWN_ADMIN = "http://127.0.0.1:4434"
SERVICES = Path(__file__).resolve().parents[2] / "docs" / "howto" / "tokens-for-services.yml"
"""The configuration of the pages about services; it changes nothing for the others."""
STOCK_KEY = "t5Yh8Kq1Xn4Mv7Wz2Lr6Pd9Cb3Fj0SgXy"
"""Of a service that asks about its tokens, in the tests of the middleware."""
ORDERS_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "kid": "orders-1",
    "alg": "ES256",
    "use": "sig",
    "x": "WVIOZPvnczbbXzPD-0JCg1y4JjVwq95arOfiCG8i8eE",
    "y": "lHWOkuxG3QqnbKb6iEgMmESDItqut-5qtwiBmbrWObM",
    "d": "2jnTOsENjLBSuryDR-JYJ3Mb3SVDPpmAakfaqd8inbk",
}
"""Signs the tokens of docs/howto/sessions-as-jwt.md."""
ORDERS_MAPPER = """
local session = std.extVar('session');
{ claims: { email: session.identity.traits.email, aal: session.authenticator_assurance_level } }
"""


def _inline(text: str) -> str:
    return f"base64://{base64.b64encode(text.encode()).decode()}"


ENVIRON = {
    # docs/howto/sessions-as-jwt.md
    "SESSION_WHOAMI_TOKENIZER_TEMPLATES": json.dumps(
        {
            "orders": {
                "ttl": "5m",
                "jwks_url": _inline(json.dumps({"keys": [ORDERS_KEY]})),
                "claims_mapper_url": _inline(ORDERS_MAPPER),
            }
        }
    ),
    "TOKEN_REFRESH_ENABLED": "true",
    # docs/howto/commercetools-introspection.md
    "INTROSPECTION_CALLERS": json.dumps(
        [
            {"id": "commercetools", "authorization": ["Bearer 0f6c1e7d52b94a38c7d1e90b5a64f283"]},
            {"id": "stock", "keys": [STOCK_KEY]},
        ]
    ),
    "TOKENS_SCOPE_RULES": json.dumps(
        [
            {"when": {"kind": ["guest", "customer"]}, "scopes": ["view_products:tea-shop"]},
            {"when": {"kind": "customer"}, "scopes": ["orders:read"]},  # as in SERVICES
        ]
    ),
}
"""What the pages set before they start the server."""


@pytest.fixture(scope="session")
def shop(run: Run) -> Commerce:
    """The run's server, started as by `TOKEN_REFRESH_ENABLED=true make run`, on free ports and in an empty folder."""

    def begin() -> Commerce:
        folder = Path(tempfile.mkdtemp(prefix="docs-", dir=run.folder))
        return start_shopkeeper(folder, owner=run.owner, config=SERVICES, demo=True, environ=ENVIRON)

    return share_shopkeeper(run.folder, "docs", begin)


@pytest.fixture(scope="session")
def fastapi_shop(run: Run, shop: Commerce) -> Server:
    """The run's backend of `examples/fastapi-shop`."""
    return share(run.folder, "fastapi-shop", lambda: start_fastapi_shop(shop.public, owner=run.owner))


@pytest.fixture(scope="session")
def express_shop(run: Run, shop: Commerce) -> Server:
    """The run's backend of `examples/express-shop`."""
    try:
        return share(run.folder, "express-shop", lambda: start_express_shop(shop.public, owner=run.owner))
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def addresses(shop: Commerce) -> dict[str, str]:
    """Map the addresses on the pages to the real ones."""
    return {SHOWN_PUBLIC: shop.public, SHOWN_ADMIN: shop.admin}


@pytest.fixture
def addresses_of(request: pytest.FixtureRequest, addresses: dict[str, str]) -> Callable[[Path], dict[str, str]]:
    """Return the addresses that a page uses; the backends of the examples start where it has theirs."""
    backends = {SHOWN_FASTAPI: "fastapi_shop", SHOWN_EXPRESS: "express_shop"}

    def of(page: Path) -> dict[str, str]:
        text = page.read_text("utf-8")
        used = {shown: request.getfixturevalue(name).url for shown, name in backends.items() if shown in text}
        return {**addresses, **used}

    return of
