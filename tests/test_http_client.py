"""The guarded HTTP client, against real servers on this machine's own loopback addresses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from shopkeeper.errors import UpstreamFailed
from shopkeeper.http_client import GuardedClient, HttpCallFailed, HttpCallRefused, is_public
from tests.services.web import Server, certificate, says, serving

# All of 127.0.0.0/8 is this machine: one address stands for a network that is allowed, one for those that are not.
ALLOWED, FORBIDDEN = "127.0.0.2", "127.0.0.1"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(ALLOWED) as server:
        yield server


@pytest.fixture
async def http_client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(networks=[f"{ALLOWED}/32"]) as http_client:
        yield http_client


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",  # metadata of most clouds
            "100.100.100.200",  # metadata of Alibaba Cloud, in the range of carriers
            "168.63.129.16",  # Azure's WireServer, public by its number
            "192.0.0.192",  # metadata of Oracle Cloud
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",  # 6to4 of 127.0.0.1
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
            "2001:db8::1",
            "3fff::1",
            "2001:20::1",
            "fc00::1",
            "fd00:ec2::254",  # metadata of AWS over IPv6
            "fe80::1",
            "fe80::1%eth0",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "localhost",
            "",
        ],
    )
    def test_a_private_address_is_never_called_public(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize(
        "address",
        ["1.1.1.1", "172.15.255.255", "172.32.0.1", "::ffff:1.1.1.1", "64:ff9b::101:101", "2606:4700:4700::1111"],
    )
    def test_a_public_address_is_called_public(self, address: str) -> None:
        assert is_public(address)


class TestRefusals:
    @pytest.mark.parametrize(
        "host",
        [
            FORBIDDEN,
            "localhost",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "2852039166",
            "user@127.0.0.1",
        ],
    )
    async def test_row_088_a_private_host_is_refused_however_it_is_spelled(self, host: str) -> None:
        async with serving("127.0.0.1") as inside, GuardedClient() as http_client:
            with pytest.raises(HttpCallRefused):
                await http_client.request("GET", inside.url(host=host))
            assert inside.heads == []

    @pytest.mark.parametrize(
        "url",
        ["", "/relative", "//host/", "ftp://example.org/", "file:///etc/passwd", "http://", "http:///x", "gopher://a/",
         "http://[::1", "http://①②⑦.⓪.⓪.①/", "javascript:alert(1)", "http://a:port/"],
    )  # fmt: skip
    async def test_what_is_no_http_address_is_refused(self, http_client: GuardedClient, url: str) -> None:
        with pytest.raises(HttpCallRefused):
            await http_client.request("GET", url)

    async def test_a_name_with_one_private_address_among_public_ones_is_refused(self, server: Server) -> None:
        async def both(_host: str, _port: int) -> Sequence[str]:
            return [ALLOWED, "10.0.0.1"]

        async with GuardedClient(resolve=both, networks=[f"{ALLOWED}/32"]) as http_client:
            with pytest.raises(HttpCallRefused):
                await http_client.request("GET", server.url(host="shop.test"))
        assert server.heads == []

    async def test_row_088_a_name_that_changes_its_address_is_called_at_the_one_that_was_judged(self) -> None:
        asked: list[str] = []

        async def rebinding(host: str, _port: int) -> Sequence[str]:
            asked.append(host)
            return [ALLOWED] if len(asked) == 1 else [FORBIDDEN]

        async with (
            serving(ALLOWED) as outside,
            GuardedClient(resolve=rebinding, networks=[f"{ALLOWED}/32"]) as http_client,
        ):
            outside.answers["/"] = says(Connection="close")
            assert (await http_client.request("GET", outside.url(host="shop.test"))).ok
            assert asked == ["shop.test"]
            with pytest.raises(HttpCallRefused):
                await http_client.request("GET", outside.url(host="shop.test"))
            assert len(outside.heads) == 1

    async def test_the_sentence_names_the_host_and_never_the_path(self) -> None:
        async with GuardedClient() as http_client:
            with pytest.raises(HttpCallRefused) as refused:
                await http_client.request("GET", "http://me:word@10.0.0.1/hooks/secret-token?key=secret")
        assert "10.0.0.1" in str(refused.value)
        assert "10.0.0.1" not in refused.value.sentence
        assert not any(word in str(refused.value) for word in ("secret", "word", "me:"))

    def test_both_errors_are_failures_of_another_server(self) -> None:
        assert issubclass(HttpCallRefused, UpstreamFailed)
        assert issubclass(HttpCallFailed, UpstreamFailed)


class TestExceptions:
    async def test_an_excepted_address_is_called_with_any_query(self) -> None:
        async with serving(FORBIDDEN) as inside:
            inside.answers["/hook"] = says()
            async with GuardedClient(exceptions=[inside.url("/hook")]) as http_client:
                assert (await http_client.request("POST", inside.url("/hook?a=b"), content=b"{}")).ok

    async def test_the_open_connection_is_not_used_for_another_address_of_the_same_host(self) -> None:
        async with serving(FORBIDDEN) as inside:
            inside.answers["/admin"] = says()
            async with GuardedClient(exceptions=[inside.url("/")]) as http_client:
                assert (await http_client.request("GET", inside.url("/"))).ok
                for path in ("/admin", "/x/../admin"):
                    with pytest.raises(HttpCallRefused):
                        await http_client.request("GET", inside.url(path))
            assert len(inside.heads) == 1

    @pytest.mark.parametrize(
        ("pattern", "path", "allowed"),
        [
            ("http://127.0.0.1:{port}/*", "/hook", True),
            ("http://127.0.0.1:{port}/*", "/hook/deep", False),
            ("http://127.0.0.1:{port}/**", "/hook/deep", True),
            ("http://127.*.*.1:{port}/**", "/hook", True),
            ("http://*:{port}/**", "/hook", False),
            ("http://127.0.0.1:1/**", "/hook", False),
            ("https://127.0.0.1:{port}/**", "/hook", False),
            ("http://127.0.0.1", "/hook", False),
            ("**", "/hook", True),
        ],
    )
    async def test_a_star_stays_between_dots_and_slashes(self, pattern: str, path: str, allowed: bool) -> None:
        async with serving(FORBIDDEN) as inside:
            inside.answers[path] = says()
            async with GuardedClient(exceptions=[pattern.format(port=inside.port)]) as http_client:
                call = http_client.request("GET", inside.url(path))
                if allowed:
                    assert (await call).ok
                else:
                    with pytest.raises(HttpCallRefused):
                        await call

    async def test_a_user_name_in_an_address_does_not_pretend_to_be_its_host(self) -> None:
        async with serving(FORBIDDEN) as inside:
            async with GuardedClient(exceptions=["http://allowed.test/**", "http://allowed.test**"]) as http_client:
                with pytest.raises(HttpCallRefused):
                    await http_client.request("GET", f"http://allowed.test@127.0.0.1:{inside.port}/")
            assert inside.heads == []

    async def test_everything_passes_where_that_is_configured(self) -> None:
        async with serving(FORBIDDEN) as inside, GuardedClient(private_allowed=True) as http_client:
            assert (await http_client.request("GET", inside.url())).body == b"hello"


class TestRedirects:
    async def test_redirects_are_returned_and_not_followed(self, server: Server, http_client: GuardedClient) -> None:
        server.answers["/away"] = says(b"", status="302 Found", Location="/")
        reply = await http_client.request("GET", server.url("/away"))
        assert (reply.status, reply.headers["location"], len(server.heads)) == (302, "/", 1)

    async def test_redirects_are_followed_on_request(self, server: Server, http_client: GuardedClient) -> None:
        server.answers["/away"] = says(b"", status="302 Found", Location="/")
        assert (await http_client.request("GET", server.url("/away"), follow_redirects=True)).body == b"hello"

    @pytest.mark.parametrize("host", [FORBIDDEN, "localhost", "2130706433", "[::ffff:7f00:1]"])
    async def test_row_088_one_that_leads_inside_is_refused(
        self, server: Server, http_client: GuardedClient, host: str
    ) -> None:
        async with serving(FORBIDDEN) as inside:
            server.answers["/in"] = says(b"", status="307 Temporary Redirect", Location=inside.url(host=host))
            with pytest.raises(HttpCallRefused):
                await http_client.request("GET", server.url("/in"), follow_redirects=True)
            assert inside.heads == []

    async def test_a_redirect_out_of_http_is_refused(self, server: Server, http_client: GuardedClient) -> None:
        server.answers["/file"] = says(b"", status="302 Found", Location="file:///etc/passwd")
        with pytest.raises(HttpCallRefused):
            await http_client.request("GET", server.url("/file"), follow_redirects=True)

    async def test_a_circle_of_redirects_ends(self, server: Server, http_client: GuardedClient) -> None:
        server.answers["/round"] = says(b"", status="302 Found", Location="/round")
        with pytest.raises(HttpCallFailed, match="redirected more than 3 times"):
            await http_client.request("GET", server.url("/round"), follow_redirects=True)


class TestBounds:
    async def test_a_large_answer_is_not_read_to_its_end(self, server: Server, http_client: GuardedClient) -> None:
        server.answers["/large"] = says(b"x" * 2000)
        assert (await http_client.request("GET", server.url("/large"), max_bytes=2000)).ok
        with pytest.raises(HttpCallFailed, match="more than 1999 bytes"):
            await http_client.request("GET", server.url("/large"), max_bytes=1999)

    async def test_a_compressed_answer_is_refused_for_it_may_unpack_to_anything(
        self, server: Server, http_client: GuardedClient
    ) -> None:
        server.answers["/packed"] = says(b"\x1f\x8b", Content_Encoding="gzip")
        with pytest.raises(HttpCallFailed, match="compressed"):
            await http_client.request("GET", server.url("/packed"))

    async def test_a_slow_answer_runs_out_of_time(self, server: Server, http_client: GuardedClient) -> None:
        async def drips(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)

        server.answers["/drip"] = drips
        with pytest.raises(HttpCallFailed, match=r"within 0\.2 seconds"):
            await http_client.request("GET", server.url("/drip"), timeout=0.2)

    async def test_no_server_and_no_name_are_failures_with_a_sentence(self, http_client: GuardedClient) -> None:
        async def nowhere(_host: str, _port: int) -> Sequence[str]:
            raise OSError("no such name")

        async with serving(ALLOWED) as gone:
            pass
        with pytest.raises(HttpCallFailed, match=r"connection to 127\.0\.0\.2 failed"):
            await http_client.request("GET", gone.url())
        async with GuardedClient(resolve=nowhere) as lost:
            with pytest.raises(HttpCallFailed, match=r"shop\.test cannot be found"):
                await lost.request("GET", "http://shop.test/")

    async def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer(self, server: Server) -> None:
        async def two(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.3", ALLOWED]

        async with GuardedClient(resolve=two, networks=["127.0.0.2/31"]) as http_client:
            assert (await http_client.request("GET", server.url(host="shop.test"))).ok

    async def test_a_malformed_answer_is_a_failure(self, server: Server, http_client: GuardedClient) -> None:
        async def nonsense(writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

        server.answers["/ssh"] = nonsense
        with pytest.raises(HttpCallFailed):
            await http_client.request("GET", server.url("/ssh"))

    async def test_a_cookie_of_one_answer_does_not_travel_with_the_next_request(
        self, server: Server, http_client: GuardedClient
    ) -> None:
        server.answers["/"] = says(Set_Cookie="who=somebody; Path=/")
        await http_client.request("GET", server.url())
        await http_client.request("GET", server.url())
        assert "cookie" not in server.heads[1].lower()

    async def test_a_proxy_of_the_environment_is_not_used(
        self, server: Server, http_client: GuardedClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        async with GuardedClient(networks=[f"{ALLOWED}/32"]) as started_later:
            assert (await started_later.request("GET", server.url())).ok


class TestTls:
    async def test_the_certificate_is_checked_against_the_name_although_an_address_is_called(
        self, tmp_path: Path
    ) -> None:
        served, trusting = certificate("shop.test", folder=tmp_path)

        async def all_here(_host: str, _port: int) -> Sequence[str]:
            return [ALLOWED]

        async with (
            serving(ALLOWED, served) as server,
            GuardedClient(resolve=all_here, networks=[f"{ALLOWED}/32"], verify=trusting) as http_client,
        ):
            assert (await http_client.request("GET", f"https://shop.test:{server.port}/")).body == b"hello"
            for stranger in ("other.test", ALLOWED):
                with pytest.raises(HttpCallFailed):
                    await http_client.request("GET", f"https://{stranger}:{server.port}/")
            assert len(server.heads) == 1

    async def test_an_untrusted_authority_is_refused(self, tmp_path: Path) -> None:
        served, _ = certificate("shop.test", folder=tmp_path)

        async def all_here(_host: str, _port: int) -> Sequence[str]:
            return [ALLOWED]

        async with (
            serving(ALLOWED, served) as server,
            GuardedClient(resolve=all_here, networks=[f"{ALLOWED}/32"]) as http_client,
        ):
            with pytest.raises(HttpCallFailed):
                await http_client.request("GET", f"https://shop.test:{server.port}/")
