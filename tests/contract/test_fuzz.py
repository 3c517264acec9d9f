"""Fuzzing from the descriptions: whatever fits them and whatever does not, nothing is answered with a 500.

Ids, flows and tokens that the server knows are put in where a made-up one would be turned away at the threshold. The
same inputs are made in every run.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import ory_kratos_client as kratos
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode

from shopkeeper.graphql.schema import print_schema
from tests.contract.conftest import Launch
from tests.contract.description import Description, implemented
from tests.contract.stories import client, register
from tests.services.shopkeeper_server import Shop

EXAMPLES = 10
GRAPHQL_EXAMPLES = 5
PATIENCE = 10
STOREFRONT = Path(__file__).with_name("storefront.openapi.yml")
QUIET: dict[str, Any] = {
    "deadline": None,  # how long an answer takes is not for a busy machine to say; `PATIENCE` bounds it
    "database": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
}

Fuzzed = schemathesis.APIOperation[Any, Any, Any]


class Fuzzer:
    """Sends what schemathesis makes up, with the given values in the place of parameters of the same name."""

    def __init__(self, base_url: str, *, known: Mapping[str, str] | None = None, token: str | None = None) -> None:
        self._base_url = base_url
        self._known = known or {}
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.answered = 0

    def fuzz(self, operation: Fuzzed, *, examples: int = EXAMPLES) -> None:
        """Tries an operation with what fits its description, and with what does not."""
        modes = GenerationMode.all() if _can_be_wrong(operation) else [GenerationMode.POSITIVE]
        with requests.Session() as session:
            for mode in modes:
                self._fuzz(operation, mode, examples, session)

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
        assert answer.status_code < 500, told
        assert answer.status_code < 400 or answer.headers.get("x-error-code"), told
        assert b"INTERNAL_SERVER_ERROR" not in answer.content, told
        self.answered += 1


def _can_be_wrong(operation: Fuzzed) -> bool:
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


@pytest.fixture(scope="module")
def shop(launch_for_module: Launch, profiles: Path) -> Shop:
    """A server that nobody else needs in good order."""
    return launch_for_module(config=profiles / "base.yml", demo=True, environ={"LOG_LEVEL": "error"})


@pytest.fixture(scope="module")
def description(kratos: Path) -> Description:
    return Description(kratos / "openapi-v26.2.0.json")


@pytest.fixture(scope="module")
def described(kratos: Path) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_path(kratos / "openapi-v26.2.0.json")


@pytest.fixture
def quiet_server(shop: Shop) -> Iterator[None]:
    """Whatever the test has done to it, the server has foreseen it, and is still there."""
    yield
    with client(shop.public) as api:
        assert kratos.MetadataApi(api).is_ready().status == "ok"
    assert "request failed" not in shop.log
    assert "graphql failed" not in shop.log


pytestmark = pytest.mark.usefixtures("quiet_server")


@pytest.mark.parametrize("kind", ["login", "registration"])
def test_the_forms(
    shop: Shop, description: Description, described: schemathesis.BaseSchema, kind: str
) -> None:
    """Submitted to a flow that is open."""
    with client(shop.public) as api:
        app = kratos.FrontendApi(api)
        flow = getattr(app, f"create_native_{kind}_flow")()
    fuzzer = Fuzzer(shop.public, known={"flow": flow.id})
    fuzzer.fuzz(described[f"/self-service/{kind}"]["POST"], examples=4 * EXAMPLES)
    assert fuzzer.answered
