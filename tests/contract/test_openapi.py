"""Every answer is as Kratos' published description of its API says, and every operation that we have is answered."""

import json
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.conftest import Launch
from tests.contract.description import Description, Operation, implemented
from tests.contract.recorded import record
from tests.contract.recorder import Answer, recording
from tests.contract.stories import tell_of_a_browser, tell_of_a_customer, tell_of_an_operator, tell_of_probes
from tests.services.server import free_port
from tests.services.shopkeeper_server import Shop

CONVERSATIONS = ("native_registration", "native_login", "html", "admin")


@dataclass(frozen=True)
class Told:
    """What the server answered to every story, and what it can."""

    answers: Sequence[Answer]
    implemented: frozenset[Operation]


@pytest.fixture(scope="module")
def description(kratos: Path) -> Description:
    return Description(kratos / "openapi-v26.2.0.json")


@pytest.fixture(scope="module")
def told(
    launch_for_module: Launch,
    module_sqlite_dsn: str,
    profiles: Path,
    conversations: Path,
    description: Description,
    tmp_path_factory: pytest.TempPathFactory,
) -> Told:
    with recording() as public, recording() as admin:
        shop = launch_for_module(
            config=profiles / "base.yml",
            dsn=module_sqlite_dsn,
            public_url=f"{public.url}/",
            environ={"SERVE_ADMIN_BASE_URL": f"{admin.url}/"},
        )
        public.target, admin.target = shop.public, shop.admin
        tell_of_a_customer(public.url)
        tell_of_a_browser(public.url)
        tell_of_an_operator(public.url, admin.url)
        tell_of_probes(public.url, admin.url)
        out = tmp_path_factory.mktemp("ours")
        record(conversations, out, public=public.url, admin=admin.url, names=CONVERSATIONS, profile="base")
        answers = [*public.answers, *admin.answers]
        return Told(answers, frozenset(implemented(description, shop)))
