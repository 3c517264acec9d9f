"""Fuzzing from the descriptions: no input is answered with a 500, whether or not it fits them.

Ids, flows and tokens that the server knows are put in where a made-up one would be refused at once. Every run makes the
same inputs.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import ory_kratos_client as kratos
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode

from shopkeeper.graphql.schema import print_schema
from tests.contract.conftest import Launch
from tests.contract.description import Description, implemented
from tests.contract.stories import client, register
from tests.services.shopkeeper_server import Commerce

EXAMPLES = 10
GRAPHQL_EXAMPLES = 5
PATIENCE = 10
STOREFRONT = Path(__file__).with_name("storefront.openapi.yml")
QUIET: dict[str, Any] = {
    "deadline": None,  # the time of an answer depends on how busy the machine is; `PATIENCE` bounds it
    "database": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
}

Fuzzed = schemathesis.APIOperation[Any, Any, Any, Any]


class Fuzzer:
    """Sends inputs made by schemathesis, with the given values in the place of parameters of the same name."""

    def __init__(self, base_url: str, *, known: Mapping[str, str] | None = None, token: str | None = None) -> None:
        self._base_url = base_url
        self._known = known or {}
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.answered = 0

    def fuzz(self, operation: Fuzzed, *, examples: int = EXAMPLES) -> None:
        """Try an operation with inputs that fit its description and, where there are any, with inputs that do not."""
        with requests.Session() as session:
            self._fuzz(operation, GenerationMode.POSITIVE, examples, session)
            with suppress(Unsatisfiable):
                self._fuzz(operation, GenerationMode.NEGATIVE, examples, session)

    def _fuzz(self, operation: Fuzzed, mode: GenerationMode, examples: int, session: requests.Session) -> None:
        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=examples, **QUIET)
        def try_one(case: Case) -> None:
            self._try(case, session)

        try_one()

    def _try(self, case: Case, session: requests.Session) -> None:
        for place in (case.path_parameters, case.query):
            place.update({name: value for name, value in self._known.items() if name in place})
        case.headers.update(self._headers)
        answer = case.call(base_url=self._base_url, session=session, timeout=PATIENCE, allow_redirects=False)
        told = f"{case.as_curl_command()} -> {answer.status_code} {answer.content[:300]!r}"
        # What is not built yet says so (501), which is no failure.
        assert answer.status_code < 500 or answer.headers.get("x-error-code") == ["not_implemented"], told
        assert answer.status_code < 400 or answer.headers.get("x-error-code"), told
        assert b"INTERNAL_SERVER_ERROR" not in answer.content, told
        self.answered += 1


@pytest.fixture(scope="module")
def shop(launch_for_module: Launch, profiles: Path) -> Commerce:
    """A server that no other test uses, because fuzzing may leave it in any state."""
    return launch_for_module(config=profiles / "base.yml", demo=True, environ={"LOG_LEVEL": "error"})


@pytest.fixture(scope="module")
def description(kratos: Path) -> Description:
    return Description(kratos / "openapi-v26.2.0.json")


@pytest.fixture(scope="module")
def described(kratos: Path) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_path(kratos / "openapi-v26.2.0.json")


@pytest.fixture
def quiet_server(shop: Commerce) -> Iterator[None]:
    """Assert that the server expected every input of the test, and still answers."""
    yield
    with client(shop.public) as api:
        assert kratos.MetadataApi(api).is_ready().status == "ok"
    assert "request failed" not in shop.log
    assert "graphql failed" not in shop.log


pytestmark = pytest.mark.usefixtures("quiet_server")


@pytest.fixture
def customer(shop: Commerce) -> kratos.SuccessfulNativeRegistration:
    """A customer with a session."""
    with client(shop.public) as api:
        return register(kratos.FrontendApi(api), f"fuzz-{uuid4().hex[:12]}@example.org")


SUBMITS = ("/self-service/login", "/self-service/registration")


@pytest.mark.parametrize("path", SUBMITS)
def test_the_forms_of_an_open_flow_never_answer_with_a_500(
    shop: Commerce, described: schemathesis.BaseSchema, path: str
) -> None:
    with client(shop.public) as api:
        app = kratos.FrontendApi(api)
        opened = app.create_native_login_flow() if path == SUBMITS[0] else app.create_native_registration_flow()
    fuzzer = Fuzzer(shop.public, known={"flow": opened.id})
    fuzzer.fuzz(described[path]["POST"], examples=4 * EXAMPLES)
    assert fuzzer.answered >= EXAMPLES


def test_the_public_api_never_answers_with_a_500(
    shop: Commerce,
    description: Description,
    described: schemathesis.BaseSchema,
    customer: kratos.SuccessfulNativeRegistration,
) -> None:
    fuzzer = Fuzzer(shop.public, token=customer.session_token)
    operations = [one for one in implemented(description, shop) if not one.admin and one.path not in SUBMITS]
    for operation in operations:
        fuzzer.fuzz(described[operation.path][operation.method])
    assert fuzzer.answered >= len(operations)


def test_the_admin_api_never_answers_with_a_500(
    shop: Commerce,
    description: Description,
    described: schemathesis.BaseSchema,
    customer: kratos.SuccessfulNativeRegistration,
) -> None:
    known = Fuzzer(shop.admin, known={"id": customer.identity.id})
    unknown = Fuzzer(shop.admin)
    operations = [one for one in implemented(description, shop) if one.admin]
    for operation in operations:
        fuzzer = unknown if operation.method == "DELETE" else known
        fuzzer.fuzz(described[operation.path][operation.method])
    assert known.answered + unknown.answered >= len(operations)


def test_the_storefronts_routes_never_answer_with_a_500(shop: Commerce) -> None:
    described = schemathesis.openapi.from_dict(yaml.safe_load(STOREFRONT.read_text()))
    for token in (None, anonymous(shop)):
        fuzzer = Fuzzer(shop.public, token=token)
        for path in ("/signin", "/signout"):
            fuzzer.fuzz(described[path]["POST"], examples=2 * EXAMPLES)
        assert fuzzer.answered >= EXAMPLES


@pytest.mark.parametrize("signed_in", [False, True], ids=["as a guest", "as a customer"])
def test_graphql_never_answers_with_a_500(
    shop: Commerce, customer: kratos.SuccessfulNativeRegistration, signed_in: bool
) -> None:
    described = schemathesis.graphql.from_file(io.StringIO(print_schema()))
    fuzzer = Fuzzer(f"{shop.public}/graphql", token=customer.session_token if signed_in else anonymous(shop))
    operations = [found.ok() for found in described.get_all_operations()]
    for operation in operations:
        fuzzer.fuzz(operation, examples=GRAPHQL_EXAMPLES)
    assert fuzzer.answered >= len(operations)


def anonymous(shop: Commerce) -> str:
    """The token of an anonymous visitor."""
    answer = requests.post(f"{shop.public}/signin", json={}, timeout=PATIENCE)
    return str(answer.json()["authorization"])
