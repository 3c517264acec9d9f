"""Anonymous tokens: what is sealed comes back, and nothing that we did not seal is opened."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import TokenInvalid
from shopkeeper.tokens.sealed import LONGEST, SealedTokens, raw_key
from tests.conftest import NOW

OLD, NEW = "the older secret of the shop", "the newer secret of the shop"
TODAY = int(NOW.timestamp()) // 86400


def tokens(*secrets: str, clock: StoppedClock | None = None) -> SealedTokens:
    return SealedTokens(secrets or (OLD,), clock=clock or StoppedClock(NOW), lifespan=timedelta(days=30))


def refused(by: SealedTokens, token: str, *, store: str = "fruit") -> bool:
    try:
        by.verify(token, store=store)
    except TokenInvalid:
        return True
    return False


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def key_of_today(secret: str = OLD) -> OctKey:
    return OctKey.import_key(raw_key(secret, TODAY))


class TestAVisit:
    def test_comes_back_as_it_was_sealed(self) -> None:
        token = tokens().issue(store="fruit")
        visit = tokens().verify(token.text, store="fruit")
        assert visit == token.visit
        assert visit.guest.version == 7
        assert (visit.issued_at, visit.expires_at) == (
            NOW.replace(microsecond=0),
            NOW.replace(microsecond=0) + timedelta(days=30),
        )

    def test_has_a_guest_and_a_token_of_its_own_each_time(self) -> None:
        one, two = tokens().issue(store="fruit"), tokens().issue(store="fruit")
        assert one.visit.guest != two.visit.guest
        assert one.text != two.text

    def test_is_over_to_the_second(self) -> None:
        clock = StoppedClock(NOW)
        ours = tokens(clock=clock)
        token = ours.issue(store="fruit").text
        clock.advance(days=30, seconds=-1)
        assert not refused(ours, token)
        clock.advance(seconds=1)
        assert refused(ours, token)

    @pytest.mark.parametrize("store", ["shoes", "fruit", "fruit@other", "FRUIT@acme", ""])
    def test_counts_at_its_own_store_only(self, store: str) -> None:
        token = tokens().issue(store="fruit@acme").text
        assert refused(tokens(), token, store=store)
        assert tokens().read(token).store == "fruit@acme"

    def test_is_renewed_for_the_same_guest(self) -> None:
        clock = StoppedClock(NOW)
        ours = tokens(clock=clock)
        first = ours.issue(store="fruit")
        clock.advance(days=29)
        second = ours.renew(first.text, store="fruit")
        clock.advance(days=29)
        assert ours.verify(second.text, store="fruit").guest == first.visit.guest
        with pytest.raises(TokenInvalid):
            ours.renew(first.text, store="fruit")


class TestSecrets:
    def test_are_rotated_by_prepending(self) -> None:
        before = tokens(OLD).issue(store="fruit").text
        after = tokens(NEW, OLD).issue(store="fruit").text
        assert not refused(tokens(NEW, OLD), before)
        assert not refused(tokens(NEW), after)
        assert refused(tokens(OLD), after)

    def test_secrets_are_required_for_a_start(self) -> None:
        with pytest.raises(ValueError, match="no secret"):
            SealedTokens([], clock=StoppedClock(NOW), lifespan=timedelta(days=1))

    def test_give_a_key_a_day_and_yesterdays_tokens_still_open(self) -> None:
        clock = StoppedClock(NOW)
        ours = tokens(clock=clock)
        first = ours.issue(store="fruit").text
        clock.advance(days=1)
        second = ours.issue(store="fruit").text
        assert first.split(".")[0] != second.split(".")[0]
        assert not refused(ours, first)

    def test_a_host_whose_clock_is_ahead_at_midnight_is_understood(self) -> None:
        here, ahead = StoppedClock(NOW), StoppedClock(NOW)
        ahead.advance(hours=24)
        assert not refused(tokens(clock=here), tokens(clock=ahead).issue(store="fruit").text)


class TestInterchange:
    """Any JOSE library that has the key reads our tokens."""

    def test_joserfc_opens_our_tokens(self) -> None:
        token = tokens().issue(store="fruit")
        opened = jwe.decrypt_compact(token.text, key_of_today())
        header = {k: opened.headers()[k] for k in ("alg", "enc", "typ")}
        assert header == {"alg": "dir", "enc": "A256GCM", "typ": "anon+jwe"}
        assert opened.plaintext is not None
        claims = json.loads(opened.plaintext)
        assert UUID(claims.pop("sub")) == token.visit.guest
        now = int(NOW.timestamp())
        assert claims == {"store": "fruit", "iat": now, "exp": now + 30 * 86400}

    def test_we_open_what_joserfc_seals_under_our_header(self) -> None:
        ours = tokens().issue(store="fruit")
        opened = jwe.decrypt_compact(ours.text, key_of_today())
        assert opened.plaintext is not None
        theirs = jwe.encrypt_compact(opened.headers(), opened.plaintext, key_of_today())
        assert theirs != ours.text
        assert tokens().verify(theirs, store="fruit") == ours.visit

    @pytest.mark.parametrize("part", [2, 3, 4], ids=["nonce", "ciphertext", "tag"])
    def test_both_refuse_a_changed_bit(self, part: int) -> None:
        parts = tokens().issue(store="fruit").text.split(".")
        raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
        raw[0] ^= 1
        parts[part] = b64(bytes(raw))
        forged = ".".join(parts)
        assert refused(tokens(), forged)
        with pytest.raises((JoseError, ValueError)):
            jwe.decrypt_compact(forged, key_of_today())


def cut(token: str) -> list[str]:
    return [token[:n] for n in range(len(token))]


def padded(token: str) -> list[str]:
    parts = token.split(".")
    inside = [".".join([*parts[:i], parts[i] + pad, *parts[i + 1 :]]) for i in range(5) for pad in ("=", "==", "A")]
    return [*inside, token + ".", token + "\n", " " + token, token + "\x00", token + "..", token + token]


def recased(token: str) -> list[str]:
    return [token.upper(), token.lower(), token.swapcase(), token.title()]


def respelled(token: str) -> list[str]:
    """Return the same bytes in another spelling: unused bits set, the other alphabet, line breaks, percent signs."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(token[-1]) ^ 1]
    return [
        token[:-1] + last,
        token.replace("-", "+").replace("_", "/") + "+",
        token[:-4] + "\n" + token[-4:],
        token[:-4] + "%2E" + token[-4:],
        token.replace(".", "%2E"),
        token[:-1] + "é",
        token[:-1] + "\ud800",
    ]


@pytest.mark.parametrize("change", [cut, padded, recased, respelled])
def test_row_011_a_token_has_one_spelling(change: Callable[[str], list[str]]) -> None:
    token = tokens().issue(store="fruit").text
    accepted = [text for text in change(token) if text != token and not refused(tokens(), text)]
    assert accepted == []


@given(st.text(max_size=400))
def test_row_011_text_that_we_did_not_seal_is_refused(text: str) -> None:
    assert refused(tokens(), text)


@given(st.data())
def test_row_011_any_other_character_anywhere_is_refused(data: st.DataObject) -> None:
    token = tokens().issue(store="fruit").text
    at = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters().filter(lambda c: c != token[at]))
    assert refused(tokens(), token[:at] + character + token[at + 1 :])


@pytest.mark.parametrize(
    "monster",
    [
        "." * 1_000_000,
        "eyJ" * 400_000,
        b64(b"[" * 300_000) + "..a.b.c",
        b64(json.dumps({"alg": "dir", "enc": "A256GCM", "x": "y" * 500_000}).encode()) + "..a.b.c",
    ],
    ids=["a million dots", "one endless header", "nested JSON", "a huge member"],
)
def test_row_013_a_crafted_header_is_not_even_decoded(monster: str) -> None:
    assert refused(tokens(), monster)


def test_row_013_our_header_before_a_monster_changes_nothing() -> None:
    header = tokens().issue(store="fruit").text.split(".")[0]
    assert refused(tokens(), header + ".." + "." * 1_000_000)
    assert refused(tokens(), header + ".." + "A" * LONGEST)


def foreign(**header: object) -> str:
    """Return a JWE that is valid in itself, sealed with our own key, under a header that we did not write."""
    ours = tokens().issue(store="fruit")
    opened = jwe.decrypt_compact(ours.text, key_of_today())
    assert opened.plaintext is not None
    protected = {**opened.headers(), **header}
    registry = jwe.JWERegistry(strict_check_header=False)
    return jwe.encrypt_compact(protected, opened.plaintext, key_of_today(), registry=registry)


@pytest.mark.parametrize(
    "header",
    [
        {"zip": "DEF"},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"typ": "JWT"},
        {"typ": "ANON+JWE"},
        {"cty": "JWT"},
        {"kid": "../../etc/passwd"},
        {"kid": ""},
        {"extra": 1},
    ],
    ids=lambda header: ",".join(f"{k}={v}" for k, v in header.items()),
)
def test_row_014_a_header_that_we_did_not_write_is_refused_although_the_key_is_right(header: dict[str, object]) -> None:
    assert refused(tokens(), foreign(**header))


def test_row_014_a_bomb_of_iterations_is_refused_unopened() -> None:
    header = {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2s": "AAAAAAAAAAA", "p2c": 2**31 - 1, "typ": "anon+jwe"}
    assert refused(tokens(), f"{b64(json.dumps(header).encode())}.{'A' * 54}.{'A' * 16}.AAAA.{'A' * 22}")


@pytest.mark.parametrize(
    "text",
    [
        '{"protected":"e30","ciphertext":"AAAA"}',
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.AAAA",
        "",
        ".",
        "....",
    ],
    ids=["JSON serialisation", "alg none", "a signed token", "nothing", "a dot", "dots"],
)
def test_row_014_other_kinds_of_tokens_are_refused(text: str) -> None:
    assert refused(tokens(), text)
