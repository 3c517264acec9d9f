"""What stops a start, and what is only reported."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shopkeeper.settings import Finding, describe, findings, load

Write = Callable[..., Path]
SOUND = """
dsn: postgres://shop:0f9c@db.example.org/shop?sslmode=verify-full
serve: {public: {base_url: 'https://account.example.org/'}, admin: {base_url: 'https://admin.example.org/'}}
secrets:
  default: [5f2c9a7be01d4486a3f17c2e9b60d85a]
  cipher: [c41e7d90ab3f4625981d0be6f72a53cc]
admin: {api_keys: [8be1f04c7a2d4f6e93b5c8d1a07e624f]}
courier: {smtp: {connection_uri: 'smtps://shop:0f9c@mail.example.org:465/'}}
cache: {url: 'redis://cache.example.org/0'}
"""
CORS = "serve: {{public: {{cors: {{enabled: true, allowed_origins: [{}]}}}}}}"


def found(*files: Path, dev: bool = False) -> list[Finding]:
    return findings(load(files, {}, dev=dev, demo=False))


def test_a_sound_configuration_has_no_findings(write: Write) -> None:
    assert found(write(SOUND)) == []


@pytest.mark.parametrize(
    ("text", "level", "path"),
    [
        ("secrets: {default: []}", "error", "secrets.default"),
        ("secrets: {cipher: []}", "error", "secrets.cipher"),
        ("secrets: {default: [f00f1e2d3c]}", "error", "secrets.default[0]"),
        (
            "selfservice: {flows: {recovery: {enabled: true, use: link}}}",
            "warning",
            "selfservice.flows.recovery.use",
        ),
        ("impersonation: {enabled: true, named_agents: true}", "warning", "impersonation.enabled"),
        ("secrets: {default: [PLEASE-CHANGE-ME-I-AM-VERY-INSECURE]}", "error", "secrets.default[0]"),
        ("secrets: {cipher: [32-LONG-SECRET-NOT-SECURE-AT-ALL]}", "error", "secrets.cipher[0]"),
        ("secrets: {default: [a-secret-of-some-length-000000001]}", "error", "secrets.default[0]"),
        ("secrets: {cookie: [abababababababababababababababab]}", "error", "secrets.cookie[0]"),
        ("admin: {api_keys: []}", "error", "admin.api_keys"),
        (CORS.format("'*'"), "error", "serve.public.cors.allowed_origins[0]"),
        (CORS.format("'https://*'"), "error", "serve.public.cors.allowed_origins[0]"),
        (CORS.format(""), "warning", "serve.public.cors.allowed_origins"),
        ("selfservice: {allowed_return_urls: ['https://*/']}", "error", "selfservice.allowed_return_urls[0]"),
        ("serve: {public: {base_url: 'http://account.example.org/'}}", "warning", "serve.public.base_url"),
        ("serve: {admin: {base_url: 'http://10.0.0.7:4434/'}}", "warning", "serve.admin.base_url"),
        ("cache: {url: memory}\nhttp: {workers: 2}", "error", "cache.url"),
        ("dsn: memory", "error", "dsn"),
        ("cache: {url: memory}", "notice", "cache.url"),
        (
            "selfservice: {flows: {settings: {after: {profile: {hooks: [{hook: verify_new_address}]}}}}}",
            "notice",
            "selfservice.flows.settings.after.profile.hooks[0]",
        ),
        ("dsn: 'postgres://u:p@h/d?max_conns=20&max_idle_conns=4'", "notice", "dsn"),
        ("dsn: 'postgres://u:p@h/d?max_conn_lifetime=5m'", "notice", "dsn"),
        ("dsn: 'postgres://u:p@h/d?sslsni=0'", "notice", "dsn"),
        ("dsn: 'sqlite:///x.db?_txlock=deferred'", "notice", "dsn"),
        ("dsn: 'postgres://u:p@h/d?sslrootcert=ca.pem'", "warning", "dsn"),
        ("dsn: 'postgres://u:p@h/d?sslmode=require&sslrootcert=nowhere.pem'", "warning", "dsn"),
        ("dsn: 'postgres://u:p@h/d?sslmode=verify-full&sslcert=nowhere.pem'", "warning", "dsn"),
        ("courier: {smtp: {connection_uri: 'smtps://m/?legacy_ssl=true'}}", "notice", "courier.smtp.connection_uri"),
        ("hashers: {argon2: {memory: 1MiB}}", "warning", "hashers.argon2"),
        ("security: {account_enumeration: {mitigate: false}}", "warning", "security.account_enumeration.mitigate"),
        ("clients: {http: {disallow_private_ip_ranges: false}}", "warning", "clients.http.disallow_private_ip_ranges"),
        ("cookies: {same_site: None, secure: false}", "warning", "cookies.same_site"),
        ("selfservice: {methods: {totp: {enabled: true}}}", "warning", "selfservice.methods.totp"),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_with_dev_is_only_a_notice(write: Write, text: str, level: str, path: str) -> None:
    file, over = write(SOUND), write(text, name="over.yml")
    finding = next(finding for finding in found(file, over) if finding.path == path)
    assert finding.level == level
    assert finding.sentence.endswith(".")
    assert {finding.level for finding in found(file, over, dev=True)} <= {"notice"}


@pytest.mark.parametrize("dev", [True, False])
@pytest.mark.parametrize("cipher", ["nasdlifuhlaiwd", "c41e7d90ab3f4625981d0be6f72a53c", "x" * 33])
def test_a_cipher_of_another_length_is_an_error_also_in_development(write: Write, cipher: str, dev: bool) -> None:
    over = write(f"secrets: {{cipher: [{cipher}]}}", name="over.yml")
    [error] = [one for one in found(write(SOUND), over, dev=dev) if one.level == "error"]
    assert error.path == "secrets.cipher[0]"
    assert "32 characters" in error.sentence
    assert cipher not in error.sentence


@pytest.mark.parametrize("nothing", ["", "\n", "\r\n\n"], ids=repr)
def test_a_missing_secret_is_reported_once_and_not_for_what_it_stands_in_for(write: Write, nothing: str) -> None:
    file = write("\n".join(line for line in SOUND.splitlines() if "default: [" not in line))
    settings = load([file], {"SECRETS_DEFAULT_0": nothing}, dev=False, demo=False)
    assert [finding.path.partition("[")[0] for finding in findings(settings)] == ["secrets.default"]


def test_mails_that_no_server_delivers_are_an_error(write: Write) -> None:
    sound = "\n".join(line for line in SOUND.splitlines() if not line.startswith("courier:"))
    assert [(finding.level, finding.path) for finding in found(write(sound))] == [
        ("error", "courier.smtp.connection_uri")
    ]


def test_one_host_with_credentials_may_have_a_wildcard_part(write: Write) -> None:
    assert found(write(SOUND), write(CORS.format("'https://*.example.org'"), name="over.yml")) == []


def test_several_workers_with_a_database_in_memory_are_refused(write: Write) -> None:
    told = found(write(SOUND), write("dsn: memory\nhttp: {workers: 2}", name="over.yml"))
    assert [finding.path for finding in told if finding.level == "error"] == ["dsn", "dsn"]


@pytest.mark.parametrize("dev", [False, True])
@pytest.mark.parametrize(
    ("public", "admin"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "0.0.0.0"),
        ("::", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("0:0::1", "::1"),
    ],
)
def test_one_port_for_both_apis_is_an_error(write: Write, public: str, admin: str, dev: bool) -> None:
    doors = f"serve: {{public: {{port: 4533, host: '{public}'}}, admin: {{port: 4533, host: '{admin}'}}}}"
    [error] = [one for one in found(write(SOUND), write(doors, name="over.yml"), dev=dev) if one.level == "error"]
    assert error.path == "serve.admin.port"
    assert "4533" in error.sentence


OWN_ADDRESSES = ("https://ACCOUNT.example.org", "https://account.example.org:443/", "https://admin.example.org/")


@pytest.mark.parametrize("dev", [False, True])
@pytest.mark.parametrize("address", OWN_ADDRESSES)
@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("{{id: k, kind: kratos, public_url: '{}'}}", "providers[0].public_url"),
        ("{{id: o, kind: oidc, audiences: [a], issuer: '{}'}}", "providers[0].issuer"),
    ],
)
def test_a_provider_that_is_this_server_itself_is_an_error(
    write: Write, provider: str, path: str, address: str, dev: bool
) -> None:
    over = write(f"providers: [{provider.format(address)}]", name="over.yml")
    assert [one.path for one in found(write(SOUND), over, dev=dev) if one.level == "error"] == [path]


def test_all_names_of_this_machine_are_one_address(write: Write) -> None:
    text = "providers: [{id: k, kind: kratos, public_url: 'http://localhost:4433/'}]"
    assert [one.path for one in found(write(text), dev=True) if one.level == "error"] == ["providers[0].public_url"]
    for other in ("http://localhost:4533/", "http://localhost:4433/accounts"):
        text = f"providers: [{{id: k, kind: kratos, public_url: '{other}'}}]"
        assert not [one for one in found(write(text), dev=True) if one.level == "error"]


@pytest.mark.parametrize(
    ("grants", "paths"),
    [
        ("refresh_token", ["tokens.clients[0].grants"]),
        ("client_credentials, refresh_token", ["tokens.clients[0].grants"]),
        ("token_exchange, refresh_token", []),
        ("client_credentials", []),
    ],
)
def test_a_client_that_never_gets_its_refresh_token_is_told(write: Write, grants: str, paths: list[str]) -> None:
    client = f"{{id: a, audiences: [x], grants: [{grants}], secrets: [b6a1c2e04d71f3b59e8d7c6f1a2b3c4d5e6f7081]}}"
    told = found(write(SOUND), write(f"tokens: {{clients: [{client}]}}", name="over.yml"))
    assert [(one.level, one.path) for one in told] == [("warning", path) for path in paths]


def test_one_port_on_two_addresses_is_no_fault(write: Write) -> None:
    doors = "serve: {public: {port: 4533, host: 10.0.0.7}, admin: {port: 4533, host: 127.0.0.1}}"
    assert found(write(SOUND), write(doors, name="over.yml")) == []


def test_dev_reports_an_open_admin_api(write: Write) -> None:
    told = found(write("serve: {admin: {host: 0.0.0.0}}"), dev=True)
    assert any(finding.path == "serve.admin.host" for finding in told)


def test_errors_come_first(write: Write) -> None:
    levels = [finding.level for finding in found(write("security: {account_enumeration: {mitigate: false}}"))]
    assert levels == sorted(levels, key=["error", "warning", "notice"].index)
    assert {"error", "warning"} <= set(levels)


def test_no_finding_repeats_a_secret(write: Write) -> None:
    told = found(write("secrets: {default: [password-hunter2], cipher: [hunter2]}"))
    assert "hunter2" not in " ".join(finding.sentence for finding in told)


class TestDescription:
    def test_values_are_shown_and_secrets_are_masked(self, write: Write) -> None:
        shown = dict(describe(load([write(SOUND)], {}, dev=False, demo=False)))
        assert shown["dsn"] == "postgresql+asyncpg://shop:***@db.example.org/shop"
        assert shown["secrets.default"] == shown["admin.api_keys"] == "(1 set)"
        assert shown["courier.smtp.connection_uri"] == shown["cache.url"] == "(set)"
        assert shown["secrets.cookie"] == "(not set)"
        assert (shown["session.lifespan"], shown["hashers.argon2.memory"]) == ("24h", "19MB")
        assert "0f9c" not in " ".join(shown.values())

    def test_the_configuration_of_a_hook_is_not_shown(self, write: Write) -> None:
        hook = "{hook: web_hook, config: {url: 'https://h.example', auth: {config: {value: hunter2}}}}"
        file = write(f"selfservice: {{flows: {{login: {{after: {{hooks: [{hook}]}}}}}}}}")
        assert "hunter2" not in str(list(describe(load([file], {}, dev=True, demo=False))))
