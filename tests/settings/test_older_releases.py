"""What older releases of Kratos wrote is read, with a notice that says what to write today."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from shopkeeper.settings import SettingsError, findings, load
from shopkeeper.settings.catalogue import by_path, sections
from shopkeeper.settings.files import MOST_VALUES
from shopkeeper.settings.former_keys import FORMER, former_variables, table
from shopkeeper.settings.tree_paths import pattern_of, steps_of
from tests.settings.test_loading import read, sentences

Write = Callable[..., Path]
LOGIN = "selfservice.flows.login.lifespan"
VERIFICATION = "selfservice.flows.verification.lifespan"
AFTER_LOGOUT = "selfservice.flows.logout.after.default_browser_return_url"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "howto" / "coming-from-kratos.md"


def notices(*files: Path) -> dict[str, str]:
    return {finding.path: finding.sentence for finding in findings(read(*files)) if "Kratos" in finding.sentence}


def value_of(settings: object, path: str) -> object:
    for step in path.split("."):
        settings = getattr(settings, step)
    return settings


class TestKeys:
    @pytest.mark.parametrize(
        ("text", "today", "value"),
        [
            ("urls: {self: {public: 'https://a.example/'}}", "serve.public.base_url", "https://a.example/"),
            ("urls: {whitelisted_return_to_urls: [/a]}", "selfservice.allowed_return_urls", ("/a",)),
            ("urls: {login_ui: 'https://a.example/l'}", "selfservice.flows.login.ui_url", "https://a.example/l"),
            ("ttl: {session: 2h}", "session.lifespan", timedelta(hours=2)),
            ("security: {session: {cookie: {same_site: Strict}}}", "session.cookie.same_site", "Strict"),
            ("session: {cookie_same_site: Strict}", "session.cookie.same_site", "Strict"),
            ("selfservice: {login: {request_lifespan: 9m}}", LOGIN, timedelta(minutes=9)),
            ("selfservice: {logout: {redirect_to: /b}}", AFTER_LOGOUT, "/b"),
            ("selfservice: {flows: {login: {request_lifespan: 9m}}}", LOGIN, timedelta(minutes=9)),
            ("selfservice: {verify: {request_lifespan: 9m}}", VERIFICATION, timedelta(minutes=9)),
            ("selfservice: {whitelisted_return_urls: [/c]}", "selfservice.allowed_return_urls", ("/c",)),
            ("selfservice: {strategies: {password: {enabled: false}}}", "selfservice.methods.password.enabled", False),
            ("password: {max_breaches: 7}", "selfservice.methods.password.config.max_breaches", 7),
            ("hashers: {argon2: {memory: 131072}}", "hashers.argon2.memory", 128 * 1024**2),
            ("hashers: {argon2: {memory: '131072'}}", "hashers.argon2.memory", 128 * 1024**2),
        ],
    )  # fmt: skip
    def test_a_former_key_is_read_and_named(self, write: Write, text: str, today: str, value: object) -> None:
        file = write(text)
        assert value_of(read(file), today) == value
        told = list(notices(file).values())
        assert told
        assert all("today" in sentence for sentence in told)

    @pytest.mark.parametrize("identity", ["identity: {{{}}}", "identity: {{traits: {{{}}}}}"])
    @pytest.mark.parametrize("further", ["", ", schemas: []", ", default_schema_id: default"])
    def test_the_url_of_the_default_schema_is_a_schema(self, write: Write, identity: str, further: str) -> None:
        file = write(identity.format(f"default_schema_url: 'builtin://customer'{further}"))
        assert [(schema.id, schema.url) for schema in read(file).identity.schemas] == [
            ("default", "builtin://customer")
        ]
        assert "identity.schemas" in notices(file)["identity.default_schema_url"]

    def test_the_default_schema_is_added_to_others(self, write: Write) -> None:
        others = "schemas: [{id: employee, url: 'builtin://customer'}]"
        identity = read(write(f"identity: {{default_schema_url: 'base64://e30=', {others}}}")).identity
        assert [schema.id for schema in identity.schemas] == ["employee", "default"]
        assert identity.default_schema_id == "default"

    @pytest.mark.parametrize(
        "further", ["default_schema_id: employee", "schemas: [{id: default, url: 'builtin://customer'}]"]
    )
    def test_two_default_schemas_are_refused(self, write: Write, further: str) -> None:
        told = sentences(write(f"identity: {{default_schema_url: 'base64://e30=', {further}}}"))
        assert told[0].startswith("identity.default_schema_url contradicts")

    def test_both_names_with_one_value_are_fine_and_with_two_are_refused(self, write: Write) -> None:
        both = "selfservice: {{allowed_return_urls: [/a], whitelisted_return_urls: [{}]}}"
        assert read(write(both.format("/a"))).selfservice.allowed_return_urls == ("/a",)
        assert sentences(write(both.format("/b"))) == [
            "selfservice.whitelisted_return_urls and selfservice.allowed_return_urls are both set and differ; keep"
            " selfservice.allowed_return_urls, its name of today."
        ]

    def test_two_names_of_a_section_are_merged(self, write: Write) -> None:
        text = (
            "selfservice: {strategies: {password: {enabled: false}}, methods: {password: {config: {max_breaches: 1}}}}"
        )
        method = read(write(text)).selfservice.methods.password
        assert (method.enabled, method.config.max_breaches) == (False, 1)

    @pytest.mark.parametrize(
        "text",
        [
            "courier: {message_ttl: 1h}",
            "serve: {public: {domain_aliases: [{match_domain: a.example, base_path: /}]}}",
            "urls: {mfa_ui: 'https://a.example/mfa'}",
            "selfservice: {flows: {registration: {after: {hooks: [{hook: verify}]}}}}",
            "profiling: cpu",
        ],
    )
    def test_a_key_without_a_successor_is_left_out_with_advice(self, write: Write, text: str) -> None:
        file = write(text)
        left = read(file).model_dump()
        assert left == read(write("log: {level: info}", name="other.yml")).model_dump()
        assert len(notices(file)) == 1

    def test_the_rest_of_a_list_of_hooks_stays(self, write: Write) -> None:
        hooks = "[{hook: verify}, {hook: session}]"
        settings = read(write(f"selfservice: {{flows: {{registration: {{after: {{password: {{hooks: {hooks}}}}}}}}}}}"))
        assert [hook.hook for hook in settings.selfservice.flows.registration.after.hooks_of("password")] == ["session"]

    def test_values_of_the_helm_chart_are_read(self, write: Write) -> None:
        file = write("kratos:\n  config: {session: {lifespan: 3h}}\n  development: true\nsecret: {enabled: false}")
        settings = read(file)
        assert (settings.session.lifespan, settings.dev) == (timedelta(hours=3), True)
        assert read(file, dev=False).dev is False
        assert "kratos.development, secret are for the chart" in notices(file)["kratos.config"]

    def test_what_is_wrong_below_a_former_key_is_told_under_its_name_of_today(self, write: Write) -> None:
        [sentence] = sentences(write("selfservice: {strategies: {pasword: {enabled: true}}}"))
        assert sentence.startswith("selfservice.methods.pasword")


class TestVariables:
    @pytest.mark.parametrize(
        ("name", "text", "today", "value"),
        [
            ("SELFSERVICE_WHITELISTED_RETURN_URLS", "/a,/b", "selfservice.allowed_return_urls", ("/a", "/b")),
            ("SELFSERVICE_WHITELISTED_RETURN_URLS_0", "/a", "selfservice.allowed_return_urls", ("/a",)),
            ("SELFSERVICE_LOGIN_REQUEST_LIFESPAN", "9m", LOGIN, timedelta(minutes=9)),
            ("SELFSERVICE_STRATEGIES_PASSWORD_ENABLED", "false", "selfservice.methods.password.enabled", False),
            ("PASSWORD_MAX_BREACHES", "7", "selfservice.methods.password.config.max_breaches", 7),
            ("HASHERS_ARGON2_MEMORY", "131072", "hashers.argon2.memory", 128 * 1024**2),
        ],
    )
    def test_a_former_name_is_read_and_named(self, name: str, text: str, today: str, value: object) -> None:
        settings = read(environ={name: text})
        assert value_of(settings, today) == value
        assert any("Kratos until" in finding.sentence for finding in findings(settings))

    def test_the_schema_and_a_secret_have_former_names(self, folder: Path) -> None:
        (folder / "secret").write_text("8be1f04c7a2d4f6e")
        environ = {
            "IDENTITY_DEFAULT_SCHEMA_URL": "builtin://customer",
            "SECRETS_SESSION_0_FILE": str(folder / "secret"),
        }
        settings = read(environ=environ)
        assert settings.identity.schemas[0].url == "builtin://customer"
        assert settings.secrets.for_cookies() == ("8be1f04c7a2d4f6e",)
        told = [finding.sentence for finding in findings(settings)]
        assert "SECRETS_SESSION_0_FILE is a name of Kratos until v0.3; set SECRETS_COOKIE_0_FILE today." in told

    def test_a_variable_overrides_a_former_key_of_a_file(self, write: Write) -> None:
        file = write("selfservice: {whitelisted_return_urls: [/a]}")
        settings = read(file, environ={"SELFSERVICE_ALLOWED_RETURN_URLS": "/b"})
        assert settings.selfservice.allowed_return_urls == ("/b",)

    def test_both_names_are_refused(self) -> None:
        environ = {"SELFSERVICE_ALLOWED_RETURN_URLS": "/a", "SELFSERVICE_WHITELISTED_RETURN_URLS": "/a"}
        [sentence] = sentences(environ=environ)
        assert "both set" in sentence


class TestTheTable:
    def test_every_key_of_today_exists(self) -> None:
        known = {*by_path(), *sections()}
        for former in FORMER:
            names = {"*": ("login",)}
            today = pattern_of(tuple(names.get(step, (step,))[0] for step in steps_of(former.new)))
            assert not former.new or today in known, former

    def test_no_former_key_is_a_key_of_today(self) -> None:
        assert [former.old for former in FORMER if former.old in {*by_path(), *sections()}] == []
        assert not {name for name in former_variables() if name in {key.env for key in by_path().values()}}

    def test_the_table_is_documented(self) -> None:
        documented = DOCUMENT.read_text(encoding="utf-8").splitlines()
        assert [line for line in table().splitlines() if line not in documented] == []


class TestBounds:
    def test_a_file_of_anchors_is_refused_before_it_is_written_out(self, write: Write) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        [sentence] = sentences(write("\n".join(lines)))
        assert f"has more than {MOST_VALUES} values" in sentence

    def test_a_file_that_is_far_too_large_is_refused(self, folder: Path) -> None:
        file = folder / "large.yml"
        with file.open("wb") as opened:
            opened.truncate(3 * 1024**3)
        assert "is larger than" in sentences(file)[0]

    @pytest.mark.parametrize("written", ["7", "'7'", "7.5", "2026-01-31", "v7"])
    def test_a_revision_is_text_however_it_is_written(self, write: Write, written: str) -> None:
        assert read(write(f"revision: {written}")).revision == written.strip("'")

    def test_a_revision_is_not_read_from_the_environment(self) -> None:
        assert read(environ={"REVISION": "7"}).revision is None

    def test_a_revision_of_another_form_is_refused(self, write: Write) -> None:
        with pytest.raises(SettingsError, match="revision must"):
            load([write("revision: true")], {}, dev=True, demo=False)
