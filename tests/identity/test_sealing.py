"""Credential configs that can be used as they are, such as TOTP secrets, are stored sealed."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from shopkeeper.app.credential_facts import CREDENTIAL_FACTS
from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import KeyRing
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.sealing import PURPOSE, SealedConfig
from shopkeeper.identity.service import Identities
from shopkeeper.identity.store import credentials
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Database
from tests.identity.conftest import identities_of
from tests.identity.persons import BOB, HASH, Given, made, person, stored

OLD, NEW = "the old secret, of 32 characters", "the new secret, of 32 characters"
TOTP = {"totp_url": "otpauth://totp/shop?secret=JBSWY3DPEHPK3PXP"}
OIDC = {"providers": [{"subject": "7", "initial_refresh_token": "a-refresh-token"}]}


@pytest.fixture
def identities(schemas: Schemas, clock: StoppedClock) -> Identities:
    return identities_of(schemas, clock, OLD)


@pytest.fixture
async def ada(database: Database, identities: Identities) -> Identity:
    given = [Given("password", HASH), Given("totp", TOTP), Given("oidc", OIDC, ["idp:7"])]
    return await made(database, identities, person(credentials=given))


async def row_of(database: Database, identity_id: UUID, type_: str) -> Mapping[str, Any]:
    """Return the config as it is stored."""
    mine = credentials.c.identity_id == identity_id, credentials.c.type == type_
    async with database.unit() as unit:
        config: Mapping[str, Any] = await unit.scalar(select(credentials.c.config).where(*mine))
    return config


async def put_row(database: Database, identity_id: UUID, type_: str, config: Mapping[str, Any]) -> None:
    mine = credentials.c.identity_id == identity_id, credentials.c.type == type_
    async with database.unit() as unit:
        await unit.write(update(credentials).where(*mine).values(config=dict(config)))


class TestSealing:
    @pytest.mark.parametrize(("type_", "config"), [("totp", TOTP), ("oidc", OIDC)])
    async def test_no_secret_is_readable_in_the_row(
        self, database: Database, identities: Identities, ada: Identity, type_: str, config: Mapping[str, Any]
    ) -> None:
        row = await row_of(database, ada.id, type_)
        assert list(row) == ["sealed"]
        assert "JBSWY3DPEHPK3PXP" not in str(row)
        assert "a-refresh-token" not in str(row)
        assert dict((await stored(database, identities, ada.id)).credentials[type_].config) == config

    async def test_other_types_are_stored_as_they_are(self, database: Database, ada: Identity) -> None:
        assert await row_of(database, ada.id, "password") == HASH

    @pytest.mark.parametrize("writes", ["replace", "change", "effect"])
    async def test_every_write_seals(
        self, database: Database, identities: Identities, ada: Identity, writes: str
    ) -> None:
        config = {"totp_url": "otpauth://totp/shop?secret=OTHER"}
        async with database.unit() as unit:
            if writes == "replace":
                await identities.replace(unit, ada.id, person(credentials=[Given("totp", config)]))
            elif writes == "change":
                changes = {"totp": Given("totp", config)}
                await identities.change_credentials(unit, ada, changes, actor="self", client_ip=None)
            else:
                await identities.set_credential_config(unit, ada.id, "totp", config)
        assert list(await row_of(database, ada.id, "totp")) == ["sealed"]
        assert (await stored(database, identities, ada.id)).credentials["totp"].config == config

    async def test_an_unchanged_credential_keeps_its_row(
        self, database: Database, identities: Identities, ada: Identity
    ) -> None:
        before = await row_of(database, ada.id, "totp")
        async with database.unit() as unit:
            await identities.replace(unit, ada.id, person(metadata_public={"tier": 1}))
        assert await row_of(database, ada.id, "totp") == before

    def test_the_service_needs_keys(self, schemas: Schemas, clock: StoppedClock) -> None:
        with pytest.raises(ValueError, match="lookup_secret, oidc, totp"):
            Identities(schemas, facts=CREDENTIAL_FACTS, clock=clock)

    async def test_a_config_is_not_shown_by_a_log_line(
        self, database: Database, identities: Identities, ada: Identity
    ) -> None:
        config = (await stored(database, identities, ada.id)).credentials["totp"].config
        assert isinstance(config, SealedConfig)
        assert "otpauth" not in repr(config)


class TestRotation:
    async def test_a_secret_in_front_seals_and_the_one_behind_it_opens(
        self, database: Database, schemas: Schemas, clock: StoppedClock, ada: Identity
    ) -> None:
        rotated = identities_of(schemas, clock, NEW, OLD)
        assert (await stored(database, rotated, ada.id)).credentials["totp"].config == TOTP
        async with database.unit() as unit:
            await rotated.set_credential_config(unit, ada.id, "totp", {**TOTP, "used": 1})
        new_alone = identities_of(schemas, clock, NEW)
        assert (await stored(database, new_alone, ada.id)).credentials["totp"].config == {**TOTP, "used": 1}


class NotingRing(KeyRing):
    """Remembers the context of each opening."""

    def __init__(self) -> None:
        super().__init__([OLD], purpose=PURPOSE)
        self.opened: list[bytes] = []

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        self.opened.append(context)
        return super().open(sealed, context=context)


async def test_a_config_is_opened_when_it_is_read_and_not_with_its_row(
    database: Database, schemas: Schemas, clock: StoppedClock, ada: Identity
) -> None:
    keys = NotingRing()
    identities = Identities(schemas, facts=CREDENTIAL_FACTS, keys=keys, clock=clock)
    async with database.unit() as unit:
        [listed], _ = await identities.list_(unit)
        await identities.get_many(unit, [ada.id], credentials=True)
        await identities.find_by_identifier(unit, type="password", identifier="ada@example.org")
    assert keys.opened == []
    assert dict(listed.credentials["totp"].config) == dict(listed.credentials["totp"].config) == TOTP
    assert keys.opened == [f"{ada.id}/totp".encode()]


class Unreadable:
    """Ways in which a credential can no longer be opened."""

    @staticmethod
    async def lost_secret(database: Database, identities: Identities, ada: Identity) -> None:
        """Build the service with another secret instead."""

    @staticmethod
    async def moved(database: Database, identities: Identities, ada: Identity) -> None:
        bob = await made(database, identities, person(BOB, credentials=[Given("totp", TOTP)]))
        await put_row(database, ada.id, "totp", await row_of(database, bob.id, "totp"))

    @staticmethod
    async def other_type(database: Database, identities: Identities, ada: Identity) -> None:
        await put_row(database, ada.id, "totp", await row_of(database, ada.id, "oidc"))

    @staticmethod
    async def planted(database: Database, identities: Identities, ada: Identity) -> None:
        await put_row(database, ada.id, "totp", {"totp_url": "otpauth://totp/shop?secret=PLANTED"})

    @staticmethod
    async def damaged(database: Database, identities: Identities, ada: Identity) -> None:
        row = await row_of(database, ada.id, "totp")
        await put_row(database, ada.id, "totp", {"sealed": row["sealed"][:-8] + "AAAAAAAA"})


WAYS = [Unreadable.lost_secret, Unreadable.moved, Unreadable.other_type, Unreadable.planted, Unreadable.damaged]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
class TestWhatCannotBeOpened:
    @pytest.fixture
    async def service(
        self, database: Database, identities: Identities, ada: Identity, schemas: Schemas, clock: StoppedClock, way: Any
    ) -> Identities:
        await way(database, identities, ada)
        return (
            identities_of(schemas, clock, NEW) if way is Unreadable.lost_secret else identities_of(schemas, clock, OLD)
        )

    async def test_reads_as_empty_and_warns_once(self, database: Database, service: Identities, ada: Identity) -> None:
        with capture_logs() as logs:
            for _ in range(3):
                identity = await stored(database, service, ada.id)
                assert dict(identity.credentials["totp"].config) == {}
        warnings = [line for line in logs if line["event"] == "identity.credential_unreadable"]
        assert [(line["log_level"], line["identity_id"], line["type"]) for line in warnings] == [
            ("warning", str(ada.id), "totp")
        ]
        assert "otpauth" not in str(logs)

    async def test_still_counts_as_a_second_factor_after_other_writes(
        self, database: Database, service: Identities, ada: Identity
    ) -> None:
        """A lost secret must not turn an account with two factors into one with one."""
        async with database.unit() as unit:
            await service.set_credential_config(unit, ada.id, "password", HASH)
        async with database.unit() as unit:
            await service.replace(unit, ada.id, person(metadata_public=1))
        assert "totp" in (await stored(database, service, ada.id)).factors

    async def test_stays_as_it_is_while_others_are_written(
        self, database: Database, service: Identities, ada: Identity
    ) -> None:
        before = await row_of(database, ada.id, "totp")
        async with database.unit() as unit:
            await service.replace(unit, ada.id, person(metadata_public=1, credentials=[Given("password", {"x": 1})]))
        async with database.unit() as unit:
            await service.patch(unit, ada.id, [{"op": "add", "path": "/traits/name", "value": {"first": "Ada"}}])
        async with database.unit() as unit:
            await service.set_credential_config(unit, ada.id, "password", HASH)
        async with database.unit() as unit:
            changes = {"passkey": Given("passkey", {"credentials": [1]})}
            await service.change_credentials(unit, ada, changes, actor="self", client_ip=None)
        assert await row_of(database, ada.id, "totp") == before

    @pytest.mark.parametrize("by", ["operator", "owner"])
    async def test_can_be_removed(self, database: Database, service: Identities, ada: Identity, by: str) -> None:
        async with database.unit() as unit:
            if by == "operator":
                await service.delete_credential(unit, ada.id, "totp")
            else:
                await service.change_credentials(unit, ada, {"totp": None}, actor="self", client_ip=None)
        assert "totp" not in (await stored(database, service, ada.id)).credentials

    async def test_can_be_replaced(self, database: Database, service: Identities, ada: Identity) -> None:
        async with database.unit() as unit:
            changes = {"totp": Given("totp", TOTP)}
            after = await service.change_credentials(unit, ada, changes, actor="self", client_ip=None)
        assert "totp" in after.factors
        assert (await stored(database, service, ada.id)).credentials["totp"].config == TOTP


def sealed(stored_: Mapping[str, Any], content: Mapping[str, Any] | None) -> SealedConfig:
    return SealedConfig(stored_, lambda: content)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (sealed({"sealed": "a"}, {"x": 1}), {"x": 1}, True),
        (sealed({"sealed": "a"}, {"x": 1}), {"x": 2}, False),
        (sealed({"sealed": "a"}, {"x": 1}), sealed({"sealed": "b"}, {"x": 1}), True),
        (sealed({"sealed": "a"}, None), sealed({"sealed": "a"}, None), True),
        (sealed({"sealed": "a"}, None), sealed({"sealed": "b"}, None), False),
        (sealed({"sealed": "a"}, None), {}, False),
        ({}, sealed({"sealed": "a"}, None), False),
        (sealed({"sealed": "a"}, {}), sealed({"sealed": "b"}, None), False),
        (sealed({"sealed": "a"}, {"x": 1}), None, False),
    ],
)
def test_configs_are_equal_by_content_and_unreadable_ones_only_to_themselves(one: Any, other: Any, same: bool) -> None:
    assert (one == other) is same
    assert (one != other) is not same
