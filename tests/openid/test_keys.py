"""Keys: read once, again for an unknown one, never in a flood; an outage and a rotation end no sign-in."""

import asyncio
import json
import warnings
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import (
    ProviderAnswerInvalid,
    ProviderError,
    ProviderTokenInvalid,
    ProviderUnavailable,
)
from shopkeeper.openid.keys import parse_keys
from tests.openid.scripted import ARRIVING, EC, ED, NONCE, OTHER_RSA, RSA, WELL_KNOWN, ScriptedProvider, query, signed

NEW = ECKey.generate_key("P-256", {"kid": "new"})
AWAY = {"status": "503 Service Unavailable"}


async def sign_in(idp: ScriptedProvider, client: OpenIDClient, token: str) -> str:
    idp.answer("/token", idp.tokens(token))
    return (await client.authenticate(query(), **ARRIVING)).subject


class TestReading:
    async def test_keys_are_read_once(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await asyncio.gather(*(client.verify_id_token(signed(idp.claims()), nonce=NONCE) for _ in range(20)))
        assert idp.asked("/jwks") == 1

    async def test_a_withdrawn_key_is_accepted_for_minutes_only(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        await client.verify_id_token(signed(idp.claims()), nonce=NONCE)
        idp.publish(RSA)
        idp.clock.advance(minutes=16)
        with pytest.raises(ProviderTokenInvalid):
            await client.verify_id_token(signed(idp.claims()), nonce=NONCE)

    async def test_a_stale_key_serves_while_the_provider_is_away_and_not_for_ever(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        await client.verify_id_token(signed(idp.claims()), nonce=NONCE)
        idp.answer("/jwks", b"", **AWAY)
        idp.clock.advance(hours=11)
        assert (await client.verify_id_token(signed(idp.claims()), nonce=NONCE)).subject == "alice"
        idp.clock.advance(hours=2)
        with pytest.raises(ProviderUnavailable):
            await client.verify_id_token(signed(idp.claims()), nonce=NONCE)

    @pytest.mark.parametrize("answer", [{}, {"keys": {}}, {"keys": [{}] * 101}, []])
    async def test_what_is_no_key_set(self, idp: ScriptedProvider, client: OpenIDClient, answer: Any) -> None:
        idp.answer("/jwks", answer)
        with pytest.raises(ProviderAnswerInvalid):
            await client.verify_id_token(signed(idp.claims()), nonce=NONCE)

    async def test_a_key_set_that_is_too_large(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer("/jwks", {"keys": [], "x": "x" * 300_000})
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.verify_id_token(signed(idp.claims()), nonce=NONCE)
        assert refused.value.cause == "too_large"


class TestRotation:
    async def test_a_new_key_is_accepted_at_once(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await sign_in(idp, client, signed(idp.claims())) == "alice"
        idp.publish(NEW)
        assert await sign_in(idp, client, signed(idp.claims(), key=NEW)) == "alice"
        idp.publish(RSA)
        assert await sign_in(idp, client, signed(idp.claims(), algorithm="RS256")) == "alice"

    async def test_a_new_key_under_the_old_name(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        assert await sign_in(idp, client, signed(idp.claims(), algorithm="RS256")) == "alice"
        idp.publish(OTHER_RSA)
        assert await sign_in(idp, client, signed(idp.claims(), algorithm="RS256", key=OTHER_RSA)) == "alice"

    async def test_old_and_new_keys_beside_each_other(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.publish(EC, NEW)
        assert await sign_in(idp, client, signed(idp.claims())) == "alice"
        assert await sign_in(idp, client, signed(idp.claims(), key=NEW)) == "alice"
        assert idp.asked("/jwks") == 1


class TestFloods:
    async def test_unknown_keys_cause_one_reading_in_ten_seconds(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        async def present(number: int) -> str:
            token = signed(idp.claims(), key=NEW, kid=f"unknown-{number}")
            with pytest.raises(ProviderTokenInvalid) as refused:
                await client.verify_id_token(token, nonce=NONCE)
            return refused.value.cause

        await client.verify_id_token(signed(idp.claims()), nonce=NONCE)
        idp.clock.advance(seconds=60)
        assert set(await asyncio.gather(*(present(number) for number in range(30)))) == {"unknown_key"}
        for number in range(20):
            await present(number)
        assert idp.asked("/jwks") == 2
        idp.clock.advance(seconds=11)
        await present(0)
        assert idp.asked("/jwks") == 3

    @pytest.mark.parametrize("broken", ["/jwks", WELL_KNOWN])
    @pytest.mark.parametrize(
        ("status", "error", "pause"),
        [("404 Not Found", ProviderAnswerInvalid, 10), ("503 Service Unavailable", ProviderUnavailable, 0)],
    )
    async def test_a_flood_where_nothing_was_ever_read(
        self,
        idp: ScriptedProvider,
        client: OpenIDClient,
        broken: str,
        status: str,
        error: type[ProviderError],
        pause: int,
    ) -> None:
        answer = idp.server.answers[broken]
        idp.answer(broken, b"", status=status)

        async def present() -> str:
            with pytest.raises(error) as refused:
                await client.verify_id_token(signed(idp.claims()), nonce=NONCE)
            with pytest.raises(error):
                await client.verify_logout_token(signed(idp.logout_claims()))
            return refused.value.cause

        causes = {await present() for _ in range(10)} | set(await asyncio.gather(*(present() for _ in range(10))))
        assert (len(causes), idp.asked(broken)) == (1, 1)
        idp.clock.advance(seconds=11)
        await present()
        assert idp.asked(broken) == 2
        idp.answer(broken, answer)
        idp.clock.advance(seconds=pause)
        assert await sign_in(idp, client, signed(idp.claims())) == "alice", "it comes from the provider itself"
        assert (await client.verify_id_token(signed(idp.claims()), nonce=NONCE)).subject == "alice"
        assert idp.asked(broken) == 3

    @pytest.mark.parametrize("broken", ["/jwks", WELL_KNOWN])
    @pytest.mark.parametrize("status", ["503 Service Unavailable", "500 Internal Server Error"])
    async def test_the_pause_after_a_failure_grows_and_is_told(
        self, idp: ScriptedProvider, client: OpenIDClient, broken: str, status: str
    ) -> None:
        answer = idp.server.answers[broken]
        idp.answer(broken, b"", status=status)

        async def told() -> int | None:
            with pytest.raises(ProviderUnavailable) as refused:
                await client.verify_id_token(signed(idp.claims()), nonce=NONCE)
            return refused.value.retry_after

        for readings, pause in enumerate((1, 2, 4, 8, 10, 10, 10), start=1):
            assert (await told(), await told()) == (pause, pause)
            idp.clock.advance(seconds=pause - 0.5)
            assert await told() == 1
            assert idp.asked(broken) == readings
            idp.clock.advance(seconds=0.5)
        idp.answer(broken, answer)
        assert (await client.verify_id_token(signed(idp.claims()), nonce=NONCE)).subject == "alice"

    async def test_while_the_provider_is_away_no_token_of_an_unknown_key_is_called_invalid(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        async def present() -> str:
            return (await client.verify_id_token(signed(idp.claims(), key=NEW), nonce=NONCE)).subject

        await client.verify_id_token(signed(idp.claims()), nonce=NONCE)
        idp.clock.advance(seconds=60)
        idp.answer("/jwks", b"", **AWAY)
        found = await asyncio.gather(*(present() for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in found] == [ProviderUnavailable] * 5
        assert (await client.verify_id_token(signed(idp.claims()), nonce=NONCE)).subject == "alice"
        assert idp.asked("/jwks") == 2
        idp.publish(NEW)
        idp.clock.advance(seconds=1)
        assert await present() == "alice"

    async def test_a_flood_does_not_stop_the_sign_ins_of_a_rotated_key(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        with pytest.raises(ProviderTokenInvalid):
            await client.verify_id_token(signed(idp.claims(), key=NEW), nonce=NONCE)
        idp.publish(NEW)
        assert await sign_in(idp, client, signed(idp.claims(), key=NEW)) == "alice"

    async def test_a_reader_that_goes_away_leaves_the_reading_to_the_next(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()
        answer = idp.server.answers["/jwks"]

        async def slowly(writer: asyncio.StreamWriter) -> None:
            reached.set()
            await go_on.wait()
            await answer(writer)

        idp.answer("/jwks", slowly)
        first, second = (
            asyncio.create_task(client.verify_id_token(signed(idp.claims()), nonce=NONCE)) for _ in range(2)
        )
        await reached.wait()
        first.cancel()
        await asyncio.wait([first])
        go_on.set()
        assert (await second).subject == "alice"
        assert first.cancelled()


class TestParsing:
    @pytest.mark.parametrize(
        "changed",
        [
            {"kty": "oct", "k": "c2VjcmV0"},
            {"use": "enc"},
            {"key_ops": ["sign"]},
            {"kty": 7},
            {"kid": 7},
            {"kty": "AKP"},
            {"x": "AAAA"},
            {"x": None},
            {"crv": "P-1"},
            {"crv": "Ed25519"},
        ],
    )
    def test_keys_that_are_left_out(self, changed: dict[str, Any]) -> None:
        keys = parse_keys(_set({**EC.as_dict(private=False), **changed}, ED.as_dict(private=False)))
        assert [key.kid for key in keys] == ["ed"]

    @pytest.mark.parametrize("bits", [1024, 2040])
    def test_weak_rsa_keys_are_left_out(self, bits: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weak = RSAKey.generate_key(bits)
        assert list(parse_keys(_set(weak.as_dict(private=False)))) == []

    def test_huge_rsa_keys_are_left_out(self) -> None:
        public = RSA.as_dict(private=False)
        assert list(parse_keys(_set({**public, "n": public["n"] * 5}))) == []
        assert list(parse_keys(_set({**public, "e": "A" * 400}))) == []

    def test_private_members_are_not_kept(self) -> None:
        [key] = parse_keys(_set(EC.as_dict(private=True)))
        assert not key.key.is_private
        [key] = parse_keys(_set(RSA.as_dict(private=True)))
        assert not key.key.is_private

    def test_what_is_no_key_is_left_out(self) -> None:
        assert list(parse_keys(_set("text", 7, None, [], {}))) == []


def _set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()
