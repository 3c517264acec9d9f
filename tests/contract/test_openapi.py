"""Every answer is as Kratos' published description of its API says, and every operation that we have is answered."""

import json
import pickle
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import ory_kratos_client as kratos
import pytest
from ory_kratos_client.exceptions import ApiException

from tests.attacks.federation import section
from tests.conftest import Run
from tests.contract.conftest import Launch
from tests.contract.description import Departure, Description, Operation, implemented
from tests.contract.recorded import Ground, record
from tests.contract.recorder import Answer, recording
from tests.contract.stories import (
    client,
    tell_of_a_browser,
    tell_of_a_customer,
    tell_of_an_operator,
    tell_of_handing_out,
    tell_of_probes,
)
from tests.services.openid_provider import OpenIDProvider, Walker
from tests.services.server import locked

# Prefixes of paths that belong to later features.
LATER = {
    "/.well-known/ory/webauthn.js": "passkeys and security keys",
    "/self-service/fed-cm/": "not served by Kratos either",
}
SERVED_BUT_NOT_DESCRIBED = ("POST /sessions/whoami -> 200", "GET /self-service/methods/oidc/callback/idp -> 303")
CONVERSATIONS = (
    "native_registration",
    "native_login",
    "html",
    "admin",
    "code_sign_in",
    "settings",
    "recovery",
    "verification",
)


@dataclass(frozen=True)
class Told:
    """The server's answers to every scenario, and its operations."""

    answers: Sequence[Answer]
    implemented: frozenset[Operation]


@pytest.fixture(scope="module")
def description(kratos: Path) -> Description:
    return Description(kratos / "openapi-v26.2.0.json")


@pytest.fixture
def told(
    run: Run,
    launch: Launch,
    profiles: Path,
    conversations: Path,
    description: Description,
    openid_provider: OpenIDProvider,
) -> Told:
    """Run the scenarios once a run; all its processes read the recorded answers."""
    kept = run.folder / "openapi.answers"
    with locked(kept.with_suffix(".lock")):
        if not kept.exists():
            ground = Ground(conversations, profiles)
            kept.write_bytes(pickle.dumps(_tell(run, launch, ground, description, openid_provider)))
    answers: Told = pickle.loads(kept.read_bytes())
    return answers


def _tell(run: Run, launch: Launch, ground: Ground, description: Description, provider: OpenIDProvider) -> Told:
    with recording() as public, recording() as admin:
        shop = launch(
            config=ground.profiles / "base.yml",
            public_url=f"{public.url}/",
            environ={
                "SERVE_ADMIN_BASE_URL": f"{admin.url}/",
                "SELFSERVICE_METHODS_LINK_ENABLED": "true",
                "SELFSERVICE_METHODS_OIDC_ENABLED": "true",
                "SELFSERVICE_METHODS_OIDC_CONFIG_PROVIDERS": json.dumps([section("idp", provider.issuer)]),
                "SELFSERVICE_FLOWS_REGISTRATION_AFTER_OIDC_HOOKS": json.dumps([{"hook": "session"}]),
                "CLIENTS_HTTP_DISALLOW_PRIVATE_IP_RANGES": "false",
            },
        )
        public.target, admin.target = shop.public, shop.admin
        tell_of_a_customer(public.url)
        tell_of_a_browser(public.url)
        tell_of_an_operator(public.url, admin.url)
        tell_of_handing_out(admin.url)
        tell_of_probes(public.url, admin.url)
        tell_of_an_app(public.url, provider)
        out = run.folder / "openapi"
        record(ground, out, public=public.url, admin=admin.url, names=CONVERSATIONS, profile="base")
        return Told([*public.answers, *admin.answers], frozenset(implemented(description, shop)))


def tell_of_an_app(public: str, provider: OpenIDProvider) -> None:
    """Sign in natively by a provider: a browser goes there, and the app exchanges codes."""
    provider.client(redirect_uris=[f"{public}/self-service/methods/oidc/callback/idp"])
    provider.automatic()
    provider.person(email := "app@example.org", given_name="Ada")
    with client(public) as api, Walker(provider.issuer) as walker:
        app = kratos.FrontendApi(api)
        flow = app.create_native_login_flow(return_session_token_exchange_code=True)
        chosen = kratos.UpdateLoginFlowWithOidcMethod(method="oidc", provider="idp")
        with pytest.raises(ApiException) as left:
            app.update_login_flow(flow=flow.id, update_login_flow_body=kratos.UpdateLoginFlowBody(chosen))
        arrival = walker.walk(json.loads(left.value.body)["redirect_browser_to"], email)
        back = httpx2.get(arrival.url, headers={"accept": "text/html"}).headers["location"]
        [code] = parse_qs(urlsplit(back).query)["code"]
        app.exchange_session_token(init_code=flow.session_token_exchange_code, return_to_code=code)


def test_every_answer_is_as_described(told: Told, description: Description, conversations: Path) -> None:
    """Kratos' own answers depart from its description here and there; ours depart nowhere else."""
    undescribed = {str(answer) for answer in told.answers if description.operation_of(answer) is None}
    assert undescribed == set(SERVED_BUT_NOT_DESCRIBED)
    as_kratos = {found.kind for found in departures(description, recorded_answers(conversations), formats=False)}
    ours = {str(found) for found in departures(description, told.answers) if found.kind not in as_kratos}
    assert not ours, "\n".join(sorted(ours))


def test_every_operation_that_we_have_was_answered_with_success(told: Told, description: Description) -> None:
    answered = {description.operation_of(answer) for answer in told.answers if answer.status < 400}
    assert {str(operation) for operation in told.implemented - answered} == set()


def test_operations_that_we_do_not_have_belong_to_later_features(told: Told, description: Description) -> None:
    missing = {operation.path for operation in set(description.operations) - told.implemented}
    assert [path for path in missing if not path.startswith(tuple(LATER))] == []
    assert [path for path in LATER if not any(one.startswith(path) for one in missing)] == []


def departures(description: Description, answers: Iterable[Answer], *, formats: bool = True) -> Iterator[Departure]:
    for answer in answers:
        operation = description.operation_of(answer)
        if operation is not None:
            yield from description.departures(operation, answer, formats=formats)


def recorded_answers(conversations: Path) -> Iterator[Answer]:
    """Yield Kratos' recorded answers, with the recorder's marks in the place of ids, times and sentences."""
    for file in sorted((conversations / "recorded").rglob("*.json")):
        for exchange in json.loads(file.read_text()):
            request, response = exchange["request"], exchange["response"]
            path = re.sub(r"^<\w+>|\?.*$", "", request["path"])
            body = b"" if response["body"] is None else json.dumps(response["body"]).encode()
            kind = response["headers"].get("content-type", "")
            yield Answer(request["method"], path, response["status"], kind, body)
