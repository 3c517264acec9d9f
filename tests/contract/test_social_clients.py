"""The published clients sign in natively by an OpenID provider, and exchange codes; pages link and unlink with them."""

import json
import subprocess
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx2
import ory_kratos_client as kratos
import pytest
from ory_kratos_client.exceptions import ApiException

from tests.attacks.federation import configured, section
from tests.conftest import Run
from tests.contract.conftest import Launch
from tests.contract.stories import client, refused
from tests.services.databases import new_sqlite
from tests.services.node import install_clients, node
from tests.services.openid_provider import OpenIDProvider, Walker
from tests.services.server import free_port
from tests.services.shopkeeper_server import Commerce

APP = "https://www.example.org/app"
PATIENCE = 120


@dataclass(frozen=True)
class Ground:
    """A shop whose provider `idp` is a real one."""

    shop: Commerce
    provider: OpenIDProvider


@pytest.fixture(scope="module")
def shop(
    run: Run, launch_for_module: Launch, openid_server: OpenIDProvider, tmp_path_factory: pytest.TempPathFactory
) -> Commerce:
    config = configured(section("idp", openid_server.issuer))
    config["selfservice"]["allowed_return_urls"] = [APP]
    dsn = new_sqlite(run.folder, tmp_path_factory.mktemp("social"))
    return launch_for_module(config=config, dsn=dsn, public_port=free_port())


@pytest.fixture
def ground(shop: Commerce, openid_provider: OpenIDProvider) -> Ground:
    openid_provider.client(redirect_uris=[f"{shop.public}/self-service/methods/oidc/callback/idp"])
    openid_provider.automatic()
    return Ground(shop, openid_provider)


@pytest.mark.parametrize("name", ["client-fetch", "kratos-client"])
def test_a_client_for_javascript_signs_in_links_and_unlinks(ground: Ground, name: str) -> None:
    ground.provider.person(email := f"{name}@example.org", given_name="Ada")
    ground.provider.person(linked := f"{name}-linked@example.org", given_name="Ada")
    arguments = [name, ground.shop.public, ground.shop.admin, ground.provider.issuer, email, linked]
    command = [node(), install_clients() / "social.mjs", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_the_client_for_python_signs_in(ground: Ground) -> None:
    ground.provider.person(email := "python@example.org", given_name="Ada")
    with client(ground.shop.public) as api:
        app = kratos.FrontendApi(api)
        for _ in ("registers", "signs in"):
            flow = app.create_native_login_flow(return_session_token_exchange_code=True, return_to=APP)
            chosen = kratos.UpdateLoginFlowWithOidcMethod(method="oidc", provider="idp")
            with pytest.raises(ApiException) as left:
                app.update_login_flow(flow=flow.id, update_login_flow_body=kratos.UpdateLoginFlowBody(chosen))
            assert left.value.status == 422
            with Walker(ground.provider.issuer) as walker:
                arrival = walker.walk(json.loads(left.value.body)["redirect_browser_to"], email)
            back = httpx2.get(arrival.url, headers={"accept": "text/html"}).headers["location"]
            [code] = parse_qs(urlsplit(back).query)["code"]
            done = app.exchange_session_token(init_code=flow.session_token_exchange_code, return_to_code=code)
            assert app.to_session(x_session_token=done.session_token).identity.traits["email"] == email
            with refused(404):
                app.exchange_session_token(init_code=flow.session_token_exchange_code, return_to_code=code)
