"""Kratos' recorded conversations, held with our server: every answer matches whole, except for the open differences."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.contract.conftest import Launch
from tests.contract.recorded import Compare, Entry, Exchange, differences, read_compare, read_entries, record
from tests.contract.recorded_provider import Ground, recorded_provider
from tests.notify.mail_server import certificate_for
from tests.services.databases import new_sqlite
from tests.services.server import free_port, locked
from tests.services.tls_front import tls_front

PROFILE = "base"
SOCIAL = "social"
CALLBACK = "self-service/methods/oidc/callback/idp"
CONVERSATIONS: Mapping[str, Sequence[str]] = {
    PROFILE: (
        "native_registration",
        "native_login",
        "html",
        "admin",
        "code_sign_in",
        "settings",
        "recovery",
        "verification",
    ),
    "steps": ("two_step",),
    "strict": ("strict",),
    "link": ("by_link",),
    "short": ("short_lived",),
    SOCIAL: ("social", "social_native"),
}
"""The conversations by the profile that they are held in. Those of `base` are held with every kind of database."""
NAMES = tuple(name for names in CONVERSATIONS.values() for name in names)
ENVIRON = {
    # The conversations look for mailed links with this address, and follow them without it.
    "SELFSERVICE_METHODS_LINK_CONFIG_BASE_URL": "http://127.0.0.1:4433/",
    # The provider is on this machine, which Kratos calls unless it is told otherwise.
    "CLIENTS_HTTP_DISALLOW_PRIVATE_IP_RANGES": "false",
}
OVER_HTTPS = ("html", "native_login")
ENTRIES = read_entries()


@dataclass(frozen=True)
class Talks:
    """The conversations with Kratos, and with our server."""

    kratos: Mapping[str, list[Exchange]]
    ours: Mapping[str, list[Exchange]]
    compare: Compare

    def differences(self, name: str, entries: Sequence[Entry] = ENTRIES) -> dict[str, list[str]]:
        return differences(name, self.kratos[name], self.ours[name], entries, self.compare)


@pytest.fixture
def talks(run: Run, launch: Launch, dsn: str, profiles: Path, conversations: Path) -> Talks:
    """Hold the conversations once a run; all processes of the run read the written answers."""
    ours: dict[str, list[Exchange]] = {}
    kratos: dict[str, list[Exchange]] = {}
    for profile, names in CONVERSATIONS.items():
        kind = dsn.partition(":")[0] if profile == PROFILE else "sqlite"
        out = run.folder / f"conversations-{profile}-{kind}"
        with locked(out.with_suffix(".lock")):
            if not (out / "said").exists():
                out.mkdir(exist_ok=True)
                database = dsn if profile == PROFILE else new_sqlite(run.folder, out)
                with _ground(profile, conversations, profiles) as (ground, port):
                    shop = launch(
                        config=ground.profiles / f"{profile}.yml", dsn=database, environ=ENVIRON, public_port=port
                    )
                    said = record(ground, out, public=shop.public, admin=shop.admin, names=names, profile=profile)
                (out / "said").write_text(said)
        assert "STOPPED" not in (out / "said").read_text(), (out / "said").read_text()
        kratos |= _read(conversations / "recorded" / profile, names)
        ours |= _read(out / profile, names)
    return Talks(kratos, ours, read_compare(conversations))


@contextmanager
def _ground(profile: str, conversations: Path, profiles: Path) -> Iterator[tuple[Ground, int | None]]:
    """What a profile's conversations are held with, and the public port where it must be known before."""
    if profile != SOCIAL:
        yield Ground(conversations, profiles), None
        return
    port = free_port()
    with recorded_provider(conversations, callback=f"http://127.0.0.1:{port}/{CALLBACK}") as ground:
        yield ground, port


@dataclass(frozen=True)
class TalksOverHttps:
    """The conversations with our server behind TLS, and the folder of those with Kratos."""

    ours: Mapping[str, list[Exchange]]
    recorded: Path
    compare: Compare


@pytest.fixture(scope="module")
def over_https(
    launch_for_module: Launch, run: Run, profiles: Path, conversations: Path, tmp_path_factory: pytest.TempPathFactory
) -> TalksOverHttps:
    folder, port = tmp_path_factory.mktemp("https"), free_port()
    authority, context = certificate_for("localhost", folder=folder)
    address = f"https://localhost:{port}"
    shop = launch_for_module(
        config=profiles / f"{PROFILE}.yml", dsn=new_sqlite(run.folder, folder), public_url=f"{address}/"
    )
    with tls_front(shop.public, port=port, context=context):
        said = record(
            Ground(conversations, profiles),
            folder,
            public=address,
            admin=shop.admin,
            names=OVER_HTTPS,
            profile=PROFILE,
            authority=authority,
        )
    assert "STOPPED" not in said, said
    ours = {name: json.loads((folder / PROFILE / f"{name}.json").read_text()) for name in OVER_HTTPS}
    return TalksOverHttps(ours, conversations / "recorded" / PROFILE, read_compare(conversations))


def _read(folder: Path, names: Sequence[str]) -> Mapping[str, list[Exchange]]:
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in names}


@pytest.mark.parametrize("name", OVER_HTTPS)
def test_every_exchange_of_browsers_matches_over_https(over_https: TalksOverHttps, name: str) -> None:
    """Besides the attributes and names of cookies, nothing depends on the scheme of the public address."""
    recorded = json.loads((over_https.recorded / f"{name}.json").read_text())
    cookies = [cookie for exchange in over_https.ours[name] for cookie in exchange["response"]["cookies"]]
    for cookie in cookies:
        own_host, attributes = cookie[0].startswith("__Host-"), cookie[1]
        assert ("Secure" in attributes, own_host) == (True, cookie[0] != "ory_kratos_session"), cookie
        cookie[0] = cookie[0].removeprefix("__Host-")
        attributes.remove("Secure")
    found = differences(name, recorded, over_https.ours[name], ENTRIES, over_https.compare)
    assert not found, "\n".join(f"{place}\n    " + "\n    ".join(lines) for place, lines in found.items())
    assert cookies or name != "html"


@pytest.mark.parametrize("name", NAMES)
def test_every_exchange_matches(talks: Talks, name: str) -> None:
    found = talks.differences(name)
    assert not found, "\n".join(f"{place}\n    " + "\n    ".join(lines) for place, lines in found.items())


def test_no_open_difference_is_out_of_date(talks: Talks) -> None:
    """An entry that is no longer needed must be removed from the list."""
    whole = {name: talks.differences(name) for name in NAMES}
    stale = [str(entry) for entry in ENTRIES if not _needed(entry, talks, whole)]
    assert not stale, "strike from open_differences.yml what no exchange needs: " + "; ".join(stale)


def _needed(entry: Entry, talks: Talks, whole: Mapping[str, dict[str, list[str]]]) -> bool:
    others = [other for other in ENTRIES if other is not entry]
    return any(talks.differences(name, others) != whole[name] for name in NAMES)
