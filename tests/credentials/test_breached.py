"""Known passwords: the built-in list, files of the shop's own, and a service with the range protocol."""

import hashlib
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.breached import (
    KEPT_RANGES,
    BreachedPasswords,
    BreachedRange,
    CommonPasswords,
    PlainList,
    SortedHashes,
    UnusableList,
    open_list,
)
from shopkeeper.errors import UpstreamFailed
from shopkeeper.http_client import GuardedClient
from tests.services.web import Server, certificate, says, serving

HOST = "127.0.0.2"


def sha1(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest().upper()


class TestCommonPasswords:
    @pytest.mark.parametrize("password", ["password", "12345678", "qwertyuiop", "Football", "ILOVEYOU", "trustno1"])
    async def test_the_most_frequent_passwords_are_known_in_any_case(self, password: str) -> None:
        assert await CommonPasswords().breaches(password) > 0

    @pytest.mark.parametrize(
        "password", ["a" * 8, " " * 8, "\u200b" * 8, "\x00" * 9, "ｐａｓｓｗｏｒｄ", "pass\u200bword"]
    )
    async def test_another_unicode_form_or_a_repeated_character_does_not_hide_them(self, password: str) -> None:
        assert await CommonPasswords().breaches(password) == 1

    @pytest.mark.parametrize("password", ["Plum-Tart-93-window", "", "correct horse battery", "password horse"])
    async def test_other_passwords_are_not_known(self, password: str) -> None:
        assert await CommonPasswords().breaches(password) == 0

    def test_row_6_2_4_it_has_more_than_3000_that_an_eight_character_policy_would_let_pass(self) -> None:
        known = CommonPasswords()._known
        assert len(known) > 3000
        assert all(len(password) >= 8 and password == password.lower() for password in known)


class TestFiles:
    @pytest.fixture
    def hashes(self, tmp_path: Path) -> Path:
        numbers = random.Random(7)
        listed = {sha1(f"breached-{number}"): numbers.randint(1, 10_000_000) for number in range(2000)}
        listed[sha1("seen thrice")] = 3
        path = tmp_path / "hashes.txt"
        path.write_text("".join(f"{digits}:{count}\r\n" for digits, count in sorted(listed.items())), newline="")
        return path

    def test_every_hash_of_a_sorted_file_is_found(self, hashes: Path) -> None:
        known = open_list(hashes)
        assert isinstance(known, SortedHashes)
        for line in hashes.read_text().split():
            assert known._count(line[:40].encode()) == int(line[41:])
        known.close()

    async def test_a_hash_that_is_not_in_the_file_is_not_found(self, hashes: Path) -> None:
        known = open_list(hashes)
        for number in range(500):
            assert await known.breaches(f"not-breached-{number}") == 0
        assert isinstance(known, SortedHashes)
        assert known._count(b"0" * 40) == known._count(b"F" * 40) == 0
        known.close()

    async def test_a_few_breaches_may_be_tolerated(self, hashes: Path) -> None:
        for tolerated, told in ((2, 3), (3, 0)):
            known = open_list(hashes, max_breaches=tolerated)
            assert await known.breaches("seen thrice") == told
            known.close()

    @pytest.mark.parametrize("ending", ["\n", ""])
    @pytest.mark.parametrize("count", range(1, 6))
    async def test_files_of_any_length_with_or_without_counts_and_a_last_newline(
        self, tmp_path: Path, ending: str, count: int
    ) -> None:
        path = tmp_path / "few.txt"
        path.write_text("\n".join(sorted(sha1(str(number)).lower() for number in range(count))) + ending)
        known = open_list(path)
        assert [await known.breaches(str(number)) for number in range(7)] == [1] * count + [0] * (7 - count)
        known.close()

    @pytest.mark.parametrize(
        ("spoil", "sentence"),
        [
            (lambda lines: lines[::-1], "not in the order"),
            (lambda lines: [*lines[:1000], *["no hash at all, but a long line of words"] * 1000], "not HASH:COUNT"),
        ],
        ids=["reversed", "mixed"],
    )
    def test_a_file_that_cannot_be_searched_is_refused_with_a_sentence(
        self, hashes: Path, spoil: object, sentence: str
    ) -> None:
        assert callable(spoil)
        hashes.write_text("\n".join(spoil(hashes.read_text().split())))
        with pytest.raises(UnusableList, match=sentence):
            open_list(hashes)

    async def test_a_plain_list_is_read_line_by_line(self, tmp_path: Path) -> None:
        path = tmp_path / "plain.txt"
        path.write_bytes("shoe shop 1\r\npässword\n\nlast one".encode() + b"\n\xff\xfe\n")
        known = open_list(path)
        assert isinstance(known, PlainList)
        for password in ("shoe shop 1", "Shoe Shop 1", "pässword", "last one"):
            assert await known.breaches(password) == 1
        assert await known.breaches("") == await known.breaches("shoe shop") == 0

    def test_a_plain_list_too_large_for_memory_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "large.txt"
        with path.open("wb") as file:
            file.truncate(64 * 1024 * 1024 + 1)
        with pytest.raises(UnusableList, match="sorted"):
            open_list(path)

    def test_a_missing_file_is_an_error_at_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            open_list(tmp_path / "none.txt")


@dataclass
class Service:
    """A service with the range protocol, over TLS and with padding."""

    server: Server
    trusting: ssl.SSLContext

    def knows(self, password: str, count: int) -> None:
        digits = sha1(password)
        lines = [f"{digits[5:]}:{count}", "0" * 34 + "1:0", "F" * 35 + ":0"]
        self.server.answers[f"/range/{digits[:5]}"] = says("\r\n".join(lines).encode())

    def http_client(self) -> GuardedClient:
        return GuardedClient(networks=[f"{HOST}/32"], verify=self.trusting, resolve=self._resolve)

    @staticmethod
    async def _resolve(_host: str, _port: int) -> Sequence[str]:
        return [HOST]


class TestRange:
    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[Service]:
        served, trusting = certificate("pwned.test", folder=tmp_path)
        async with serving(HOST, served) as server:
            yield Service(server, trusting)

    @pytest.fixture
    async def http_client(self, service: Service) -> AsyncIterator[GuardedClient]:
        async with service.http_client() as http_client:
            yield http_client

    @pytest.fixture
    def stopped(self) -> StoppedClock:
        return StoppedClock(datetime(2026, 1, 1, tzinfo=UTC))

    @pytest.fixture
    def known(self, service: Service, http_client: GuardedClient, stopped: StoppedClock) -> BreachedRange:
        return BreachedRange(http_client, stopped, host=f"pwned.test:{service.server.port}", timeout=30)

    async def test_a_breached_password_is_counted(self, service: Service, known: BreachedRange) -> None:
        service.knows("hunter22", 17_043)
        assert await known.breaches("hunter22") == 17_043

    async def test_the_service_learns_five_digits_and_is_asked_for_padding(
        self, service: Service, known: BreachedRange
    ) -> None:
        service.knows("hunter22", 5)
        await known.breaches("hunter22")
        assert len(service.server.heads) == 1
        head = service.server.heads[0]
        assert head.startswith(f"GET /range/{sha1('hunter22')[:5]} HTTP/1.1")
        assert "add-padding: true" in head.lower()
        assert sha1("hunter22")[5:15].lower() not in head.lower()

    async def test_padding_does_not_count(self, service: Service, known: BreachedRange) -> None:
        service.knows("hunter22", 0)
        assert await known.breaches("hunter22") == 0

    async def test_another_hash_of_the_same_range_does_not_count(self, service: Service, known: BreachedRange) -> None:
        digits = sha1("hunter22")
        other = digits[5:-1] + ("0" if digits[-1] != "0" else "1")
        service.server.answers[f"/range/{digits[:5]}"] = says(
            f"{other}:9\r\n{digits[6:]}:9\r\nA{digits[5:]}:9".encode()
        )
        assert await known.breaches("hunter22") == 0

    async def test_a_few_breaches_may_be_tolerated(
        self, service: Service, http_client: GuardedClient, stopped: StoppedClock
    ) -> None:
        service.knows("hunter22", 3)
        host = f"pwned.test:{service.server.port}"
        assert await BreachedRange(http_client, stopped, host=host, max_breaches=3).breaches("hunter22") == 0
        assert await BreachedRange(http_client, stopped, host=host, max_breaches=2).breaches("hunter22") == 3

    async def test_an_answer_is_kept_for_an_hour(
        self, service: Service, known: BreachedRange, stopped: StoppedClock
    ) -> None:
        service.knows("hunter22", 3)
        for _ in range(3):
            await known.breaches("hunter22")
        assert len(service.server.heads) == 1
        stopped.advance(hours=1)
        await known.breaches("hunter22")
        assert len(service.server.heads) == 2

    async def test_the_number_of_kept_answers_is_bounded(self, service: Service, known: BreachedRange) -> None:
        for number in range(KEPT_RANGES + 10):
            service.knows(f"password-{number}", 1)
            await known.breaches(f"password-{number}")
        assert len(known._kept) == KEPT_RANGES

    @pytest.mark.parametrize(
        "status", ["503 Service Unavailable", "404 Not Found", "302 Found", "429 Too Many Requests"]
    )
    async def test_a_service_that_fails_lets_passwords_pass_and_is_asked_again(
        self, service: Service, known: BreachedRange, status: str
    ) -> None:
        service.server.answers[f"/range/{sha1('hunter22')[:5]}"] = says(b"", status=status)
        assert await known.breaches("hunter22") == 0
        assert known.unanswered == 1
        service.knows("hunter22", 3)
        assert await known.breaches("hunter22") == 3

    async def test_a_service_that_is_off_line_blocks_no_password_unless_configured(
        self, http_client: GuardedClient, stopped: StoppedClock, tmp_path: Path
    ) -> None:
        async with serving(HOST) as gone:
            pass
        host = f"pwned.test:{gone.port}"
        assert await BreachedRange(http_client, stopped, host=host).breaches("hunter22") == 0
        strict = BreachedRange(http_client, stopped, host=host, ignore_network_errors=False)
        with pytest.raises(UpstreamFailed, match="cannot be checked now"):
            await strict.breaches("hunter22")

    async def test_a_service_on_a_private_network_is_not_called(self, service: Service, stopped: StoppedClock) -> None:
        async with GuardedClient(resolve=service._resolve) as guarded:
            host = f"pwned.test:{service.server.port}"
            with pytest.raises(UpstreamFailed, match="cannot be checked now") as refused:
                await BreachedRange(guarded, stopped, host=host, ignore_network_errors=False).breaches("hunter22")
        assert "private network" in str(refused.value.__cause__)


async def test_every_source_fits_the_protocol(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("password\n")
    sources: list[BreachedPasswords] = [CommonPasswords(), open_list(path)]
    assert [await source.breaches("password") for source in sources] == [1, 1]
