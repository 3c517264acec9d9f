"""Files and environment become settings, or sentences."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shopkeeper.settings import Settings, SettingsError, load
from shopkeeper.settings.catalogue import known_keys, sections, sections_in_effect
from shopkeeper.settings.problems import SENTENCES
from shopkeeper.settings.root import Remarks
from shopkeeper.settings.unknown_keys import sort

Write = Callable[..., Path]
PROBLEMS = yaml.safe_load((Path(__file__).parent / "problems.yml").read_text(encoding="utf-8"))
NONE: Mapping[str, str] = {}


def read(*files: Path, environ: Mapping[str, str] = NONE, dev: bool = True) -> Settings:
    return load(files, environ, dev=dev, demo=False)


def sentences(*files: Path, environ: Mapping[str, str] = NONE) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        read(*files, environ=environ)
    assert str(refusal.value).splitlines() == [problem.sentence for problem in refusal.value.problems]
    return [problem.sentence for problem in refusal.value.problems]


class TestFiles:
    def test_nothing_at_all_starts_on_sqlite_with_our_own_pages(self) -> None:
        settings = read(dev=False)
        assert settings.dsn.sqlalchemy_url == "sqlite+aiosqlite:///./var/shopkeeper.db"
        assert settings.serve.public.base_url == "http://127.0.0.1:4433/"
        assert settings.selfservice.flows.login.ui_url == "http://127.0.0.1:4433/login"
        assert settings.selfservice.flows.logout.after.default_browser_return_url == "http://127.0.0.1:4433/signed-out"
        assert [store.id for store in settings.stores] == [settings.default_store] == ["default"]

    def test_the_pages_follow_the_base_url_and_the_base_url_the_port(self, write: Write) -> None:
        moved = read(write("serve: {public: {port: 8080}}"))
        assert moved.selfservice.flows.error.ui_url == "http://127.0.0.1:8080/error"
        below = read(write("serve: {public: {base_url: 'https://shop.example.org/account'}}"))
        assert below.selfservice.flows.login.ui_url == "https://shop.example.org/account/login"

    def test_later_files_override_earlier_ones(self, write: Write) -> None:
        first = write("serve: {public: {port: 1000, host: 10.0.0.1}}\nsession: {lifespan: 2h}", name="a.yml")
        second = write('{"serve": {"public": {"port": 2000}}}', name="b.json")
        third = write('[session]\nlifespan = "3h"', name="c.toml")
        settings = read(first, second, third)
        assert (settings.serve.public.port, settings.serve.public.host) == (2000, "10.0.0.1")
        assert settings.session.lifespan == timedelta(hours=3)

    def test_null_means_not_set(self, write: Write) -> None:
        settings = read(write("serve:\nsession: {lifespan: null}\nhashers: {pool: {workers: null}}"))
        assert settings.session.lifespan == timedelta(hours=24)
        assert settings.hashers.pool.workers is None

    def test_dev_in_a_file_is_the_switch(self, write: Write) -> None:
        assert read(write("dev: true"), dev=False).graphql.introspection is True

    @pytest.mark.parametrize(
        ("text", "name", "sentence"),
        [
            ("", "a.yml", "is empty"),
            ("# nothing\n", "a.yml", "holds no settings"),
            ("- a\n- b\n", "a.yml", "must be a section"),
            ("serve: [\n", "a.yml", "is not valid YAML: line 2, column 1"),
            ("a: &x [*x, !!python/object:os.system {}]", "a.yml", "is not valid YAML"),
            ("dsn: memory\ndsn: memory\n", "a.yml", "the name dsn is there twice"),
            ("{", "a.json", "is not valid JSON: line 1"),
            ('{"a": ' + "9" * 5000 + "}", "a.json", "is not usable JSON"),
            ("? [a, b]\n: c\n", "a.yml", "is not valid YAML"),
            ("serve: &again {public: *again}\n", "a.yml", "contains itself"),
            ("x =", "a.toml", "is not valid TOML"),
        ],
    )
    def test_a_file_that_cannot_be_used_gets_one_sentence(
        self, write: Write, text: str, name: str, sentence: str
    ) -> None:
        (problem,) = sentences(write(text, name=name))
        assert sentence in problem
        assert "\n" not in problem

    def test_a_file_that_is_not_there_or_no_text_gets_one_sentence(self, folder: Path) -> None:
        assert sentences(folder / "no.yml") == [f"{folder / 'no.yml'} cannot be read: no such file or directory."]
        assert "is a directory" in sentences(folder)[0]
        (folder / "latin.yml").write_bytes(b"version: \xe9")
        assert "is not UTF-8" in sentences(folder / "latin.yml")[0]


class TestEnvironment:
    @pytest.mark.parametrize(
        ("name", "text", "path", "value"),
        [
            ("SERVE_PUBLIC_PORT", "8080", "serve.public.port", 8080),
            ("SELFSERVICE_FLOWS_SETTINGS_UI_URL", "https://a.example/s", "selfservice.flows.settings.ui_url", "https://a.example/s"),
            ("SELFSERVICE_FLOWS_REGISTRATION_ENABLED", "false", "selfservice.flows.registration.enabled", False),
            ("SERVE_PUBLIC_CORS_ALLOWED_HEADERS", "A, B", "serve.public.cors.allowed_headers", ("A", "B")),
            ("SERVE_PUBLIC_CORS_ALLOWED_HEADERS", '["X-One"]', "serve.public.cors.allowed_headers", ("X-One",)),
            ("COURIER_SMTP_HEADERS", '{"X-Shop": "1"}', "courier.smtp.headers", {"X-Shop": "1"}),
            ("LOG_LEVEL", "INFO", "log.level", "info"),
            ("TOKEN_REFRESH_ENABLED", "true", "tokens.refresh.enabled", True),
            ("TOKENS_REFRESH_ENABLED", "true", "tokens.refresh.enabled", True),
            ("HASHERS_ARGON2_MEMORY", "128MB", "hashers.argon2.memory", 128 * 1024**2),
            ("SESSION_LIFESPAN", "", "session.lifespan", timedelta(hours=24)),
        ],
    )  # fmt: skip
    def test_names_are_kratos_names(self, name: str, text: str, path: str, value: object) -> None:
        found: object = read(environ={name: text})
        for step in path.split("."):
            found = getattr(found, step)
        assert found == value

    def test_variables_override_the_files_entry_by_entry(self, write: Write) -> None:
        file = write("secrets: {cookie: [first-cookie-secret, second-cookie-secret]}")
        settings = read(
            file, environ={"SECRETS_COOKIE_0": "another-cookie-secret", "SECRETS_COOKIE_2": "third-cookie-secret"}
        )
        assert settings.secrets.for_cookies() == (
            "another-cookie-secret",
            "second-cookie-secret",
            "third-cookie-secret",
        )

    def test_whole_entries_come_as_json_or_field_by_field(self) -> None:
        environ = {
            "STORES_0": '{"id": "de"}',
            "STORES_1_ID": "ch",
            "STORES_1_CURRENCY": "CHF",
            "STORES_1_HOSTS_0": "ch.example",
        }
        first, second = read(environ=environ).stores
        assert (first.id, second.id, second.currency, second.hosts) == ("de", "ch", "CHF", ("ch.example",))

    @pytest.mark.parametrize(
        "name",
        ["DSN", "SECRETS_DEFAULT_0", "SECRETS_CIPHER", "COURIER_SMTP_CONNECTION_URI", "CACHE_URL", "ADMIN_API_KEYS_0"],
    )
    def test_every_secret_may_come_from_a_file(self, folder: Path, name: str) -> None:
        secret = {
            "DSN": "postgres://shop:hunter2@db/shop",
            "COURIER_SMTP_CONNECTION_URI": "smtp://shop:hunter2@mail/",
            "CACHE_URL": "redis://:hunter2@cache/0",
        }.get(name, "8be1f04c7a2d4f6e93b5c8d1a07e624f")
        (folder / "secret").write_text(f"{secret}\n")
        from_file, plain = read(environ={f"{name}_FILE": str(folder / "secret")}), read(environ={name: secret})
        assert from_file.model_dump(exclude={"secrets"}) == plain.model_dump(exclude={"secrets"})
        kind = name.removeprefix("SECRETS_").removesuffix("_0").lower()
        assert getattr(from_file.secrets, kind, ()) == getattr(plain.secrets, kind, ())
        both = sentences(environ={name: secret, f"{name}_FILE": "x"})
        assert both == [f"{name} and {name}_FILE are both set; keep one of them."]

    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n", "\r"], ids=repr)
    @pytest.mark.parametrize(
        ("path", "secret"),
        [
            ("dsn", "postgres://shop:hunter2@db/shop"),
            ("secrets.default", "8be1f04c7a2d4f6e93b5c8d1a07e624f"),
            ("secrets.cookie", "8be1f04c7a2d4f6e93b5c8d1a07e624f"),
            ("secrets.cipher", "8be1f04c7a2d4f6e93b5c8d1a07e624f"),
            ("secrets.pagination", "8be1f04c7a2d4f6e93b5c8d1a07e624f"),
            ("admin.api_keys", "8be1f04c7a2d4f6e93b5c8d1a07e624f"),
            ("cache.url", "redis://:hunter2@cache/0"),
            ("courier.smtp.connection_uri", "smtp://shop:hunter2@mail/"),
        ],
    )
    def test_a_line_break_at_the_end_makes_no_other_secret(
        self, write: Write, folder: Path, path: str, secret: str, ending: str
    ) -> None:
        """Wherever it is written: in a file, in a variable, in a file that a variable names, in a list."""
        name, in_list = path.replace(".", "_").upper(), path.split(".", maxsplit=1)[0] in {"secrets", "admin"}
        (folder / "secret").write_bytes(f"{secret}{ending}".encode())
        section, _, key = path.rpartition(".")
        tree: object = {key: [secret + ending] if in_list else secret + ending}
        for step in reversed(section.split(".") if section else []):
            tree = {step: tree}
        one = f"{name}_0" if in_list else name
        ways = [
            read(write(json.dumps(tree), name="shop.json")),
            read(environ={one: secret + ending}),
            read(environ={f"{one}_FILE": str(folder / "secret")}),
        ]
        if in_list:
            ways += [read(environ={name: json.dumps([secret + ending])}), read(environ={name: secret + ending})]
        found = [self._at(settings, path) for settings in ways]
        assert found == [self._at(read(environ={one: secret}), path)] * len(ways)

    @staticmethod
    def _at(settings: object, path: str) -> object:
        for step in path.split("."):
            settings = getattr(settings, step)
        return settings

    def test_a_variable_of_line_breaks_is_not_set(self) -> None:
        assert read(environ={"DSN": "\n", "SERVE_PUBLIC_PORT": "\r\n"}).serve.public.port == 4433

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_byte_order_mark_is_no_part_of_a_value(self, folder: Path, encoding: str) -> None:
        (folder / "secret").write_text("8be1f04c7a2d4f6e93b5c8d1a07e624f", encoding=encoding)
        (folder / "shop.json").write_text('{"log": {"level": "error"}}', encoding=encoding)
        settings = read(folder / "shop.json", environ={"SECRETS_DEFAULT_0_FILE": str(folder / "secret")})
        assert settings.secrets.for_all_else() == ("8be1f04c7a2d4f6e93b5c8d1a07e624f",)
        assert settings.log.level == "error"

    def test_two_names_of_one_setting_are_refused(self) -> None:
        both = {"TOKEN_REFRESH_ENABLED": "true", "TOKENS_REFRESH_ENABLED": "false"}
        assert sentences(environ=both) == [
            "TOKENS_REFRESH_ENABLED and TOKEN_REFRESH_ENABLED are both set; keep one of them."
        ]

    @pytest.mark.parametrize(
        ("environ", "sentence"),
        [
            ({"DSN_FILE": "nowhere"}, "DSN_FILE: nowhere cannot be read: no such file or directory."),
            (
                {"SECRETS_COOKIE_1": "x"},
                "SECRETS_COOKIE_1 leaves a gap: the list has 0 before it; number from 0 without gaps.",
            ),
            ({"STORES": "[{"}, 'STORES is not valid JSON; write it like ["first", "second"].'),
            (
                {"COURIER_SMTP_HEADERS": "[]"},
                'COURIER_SMTP_HEADERS has the wrong shape; write it like {"name": "value"}.',
            ),
            ({"SERVE_PUBLIC_PORT": "x"}, "serve.public.port must be a whole number (it comes from SERVE_PUBLIC_PORT)."),
            ({"IDENTITY_SCHEMAS_0_ID": "a"}, "identity.schemas[0].url is required."),
        ],
    )
    def test_an_unusable_variable_gets_a_sentence(self, environ: dict[str, str], sentence: str) -> None:
        assert sentence in sentences(environ=environ)

    def test_an_empty_secret_file_is_refused(self, folder: Path) -> None:
        (folder / "empty").write_text("\n")
        environ = {"DSN_FILE": str(folder / "empty")}
        assert sentences(environ=environ) == [f"DSN_FILE: {folder / 'empty'} is empty; write the secret into it."]

    def test_other_tools_variables_are_left_alone(self) -> None:
        others = {
            "PATH": "/bin",
            "HOME": "/",
            "VERSION": "7",
            "DEV": "1",
            "DEMO": "1",
            "HTTP_PROXY": "x",
            "SERVE_DIR": "/srv",
            "LOG_DIR": "/log",
        }
        settings = read(environ=others, dev=False)
        assert (settings.version, settings.dev, settings.demo) == (None, False, False)
        assert [finding.path for finding in settings.remarks.others] == ["DEV"]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("SERVE_PUBLIC_PROT", "did you mean SERVE_PUBLIC_PORT?"),
            ("SECRETS_COKIE_0", "did you mean SECRETS_COOKIE_0?"),
            ("SERVE_PUBLIC_PORT_FILE", "only secrets have a _FILE form; set SERVE_PUBLIC_PORT itself"),
        ],
    )
    def test_a_misspelt_name_is_reported(self, name: str, words: str) -> None:
        (finding,) = [finding for finding in read(environ={name: "x"}).remarks.others if finding.path == name]
        assert finding.level == "warning"
        assert words in finding.sentence

    @given(
        st.dictionaries(
            st.text(st.sampled_from("ABDEFILNORSTUV_0123456789"), min_size=1, max_size=24), st.text(max_size=20)
        )
    )
    def test_no_environment_breaks_anything_but_with_sentences(self, environ: dict[str, str]) -> None:
        try:
            load([], environ, dev=False, demo=False)
        except SettingsError as error:
            assert all(problem.sentence.endswith((".", "?")) for problem in error.problems)  # noqa: PT017 - either way is fine


class TestDemo:
    def test_one_time_codes_are_on_and_registering_signs_in(self) -> None:
        selfservice = load([], {}, dev=True, demo=True).selfservice
        assert selfservice.methods.code.signs_in
        hooks = [selfservice.flows.registration.after.hooks_of(method) for method in ("password", "code")]
        assert [[hook.hook for hook in each] for each in hooks] == [["session"], ["session"]]

    def test_the_configuration_overrides_the_demo(self, write: Write) -> None:
        file = write("selfservice: {methods: {code: {passwordless_enabled: false}}}")
        assert not load([file], {}, dev=True, demo=True).selfservice.methods.code.signs_in

    def test_without_the_demo_one_time_codes_are_off(self) -> None:
        assert not load([], {}, dev=True, demo=False).selfservice.methods.code.signs_in


def test_a_code_can_be_used_for_ten_minutes() -> None:
    """The most that OWASP ASVS 5.0 allows (6.5.5)."""
    assert load([], {}, dev=True, demo=False).selfservice.methods.code.config.lifespan == timedelta(minutes=10)


class TestProblems:
    @pytest.mark.parametrize(("text", "sentence"), [(row["given"], row["said"]) for row in PROBLEMS])
    def test_each_problem_says_where_and_what_to_do(self, write: Write, text: str, sentence: str) -> None:
        assert sentences(write(text)) == [sentence]

    def test_all_problems_are_reported_at_once(self, write: Write, folder: Path) -> None:
        file = write("serve: {pubic: {port: 1}, admin: {port: x}}\nsession: {lifespan: 1}")
        told = sentences(file, folder / "no.yml", environ={"STORES": "[", "LOG_FORMAT": "xml"})
        assert len(told) == 6

    def test_a_problem_does_not_repeat_what_was_typed(self, write: Write) -> None:
        file = write("secrets: {default: hunter2}\ndsn: 'hunter2'\ncache: {url: hunter2}\nadmin: {api_keys: [hunter2]}")
        told = sentences(file, environ={"COURIER_SMTP_CONNECTION_URI": "hunter2"})
        assert len(told) == 5
        assert "hunter2" not in " ".join(told)

    def test_a_broken_configuration_writes_nothing(self, write: Write, folder: Path) -> None:
        sentences(write("session: {lifespan: 1}"))
        assert [file.name for file in folder.iterdir()] == ["shop.yml"]


class TestValues:
    def test_settings_cannot_be_changed(self) -> None:
        settings = read()
        with pytest.raises(ValueError, match="frozen"):
            settings.serve.public.port = 1  # type: ignore[misc]

    def test_no_secret_is_in_the_representation(self) -> None:
        environ = {
            "DSN": "postgres://shop:hunter2@db/shop",
            "SECRETS_DEFAULT": "hunter2-hunter2-hunter2",
            "ADMIN_API_KEYS_0": "hunter2-8be1f04c7a2d4f6e8be1f04c7a2d",
            "CACHE_URL": "redis://:hunter2@cache/0",
            "COURIER_SMTP_CONNECTION_URI": "smtp://shop:hunter2@mail/",
            "COURIER_SMTP_HEADERS": '{"X-Key": "hunter2"}',
        }
        assert "hunter2" not in repr(read(environ=environ))

    @pytest.mark.parametrize(
        "address", ["pwned.example:8443", "https://pwned.example:8443/", "http://pwned.example:8443"]
    )
    def test_the_range_service_is_a_host_however_kratos_files_write_it(self, write: Write, address: str) -> None:
        text = f"selfservice: {{methods: {{password: {{config: {{haveibeenpwned_host: '{address}'}}}}}}}}"
        assert read(write(text)).selfservice.methods.password.config.haveibeenpwned_host == "pwned.example:8443"

    @pytest.mark.parametrize(
        ("smtp", "sentence"),
        [
            (
                {"connection_uri": "smtp://mail.example.org/?tls=maybe"},
                "courier.smtp.connection_uri has the unknown option tls; known are ",
            ),
            (
                {"connection_uri": "smtp://mail.example.org/?skip_ssl_verify=perhaps"},
                "courier.smtp.connection_uri has skip_ssl_verify, which must be true or false",
            ),
            ({"headers": {"Subject": "Hello"}}, "courier.smtp.headers has the header Subject, which Shopkeeper writes"),
            ({"headers": {"X A": "b"}}, "courier.smtp.headers has the header X A, whose name must have only"),
            ({"headers": {"X-A": "hunter2\r\nBcc: b"}}, "courier.smtp.headers has the header X-A, whose value has"),
        ],
    )
    def test_mistakes_of_mail_settings_are_named_beside_all_others(
        self, write: Write, smtp: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(SettingsError) as refused:
            read(write(json.dumps({"courier": {"smtp": smtp}, "log": {"level": "loud"}})))
        sentences = [problem.sentence for problem in refused.value.problems]
        assert len(sentences) == 2
        assert any(each.startswith(sentence) for each in sentences)
        assert "hunter2" not in repr(sentences)

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"], ids=repr)
    def test_the_hash_of_an_api_key_may_have_capital_letters_and_a_line_break(self, ending: str) -> None:
        digest = hashlib.sha256(b"8be1f04c7a2d4f6e93b5c8d1a07e624f").hexdigest()
        settings = read(environ={"ADMIN_API_KEYS": json.dumps([{"id": "ci", "hash": digest.upper() + ending}])})
        assert settings.admin.api_keys[0].hash == digest

    @pytest.mark.parametrize("hash_", ["", "abc", "g" * 64, "a" * 63, "a" * 65, "\u0661" * 64])
    def test_another_text_is_refused_as_the_hash_of_an_api_key_without_a_pattern(self, hash_: str) -> None:
        with pytest.raises(SettingsError) as refused:
            read(environ={"ADMIN_API_KEYS": json.dumps([{"id": "ci", "hash": hash_}])})
        [problem] = refused.value.problems
        assert problem.sentence.startswith("admin.api_keys[0].hash must be a SHA-256 in 64 hexadecimal digits")
        assert "^" not in problem.sentence

    def test_two_api_keys_with_one_id_are_refused(self) -> None:
        keys = [{"id": "ci", "hash": hashlib.sha256(key).hexdigest()} for key in (b"one", b"two")]
        with pytest.raises(SettingsError, match="two api_keys with the same id"):
            read(environ={"ADMIN_API_KEYS": json.dumps(keys)})

    def test_an_api_key_is_kept_as_its_hash(self) -> None:
        key, digest = "k" * 8 + "8be1f04c7a2d4f6e8be1f04c7a", "ab" * 32
        settings = read(environ={"ADMIN_API_KEYS": json.dumps([key, {"id": "ci", "hash": digest}])})
        assert [len(entry.hash) for entry in settings.admin.api_keys] == [64, 64]
        assert (settings.admin.api_keys[1].id, settings.admin.api_keys[1].hash) == ("ci", digest)

    def test_hooks_of_a_method_go_before_those_of_the_flow(self, write: Write) -> None:
        file = write(
            "selfservice: {flows: {registration: {after: {"
            "hooks: [{hook: web_hook}], password: {hooks: [{hook: session}]}}}, "
            "login: {after: {hooks: [{hook: revoke_active_sessions}]}}}}"
        )
        flows = read(file).selfservice.flows
        assert [hook.hook for hook in flows.registration.after.hooks_of("password")] == ["session"]
        assert [hook.hook for hook in flows.login.after.hooks_of("password")] == ["revoke_active_sessions"]

    def test_settings_of_a_method_are_found_by_its_name(self, write: Write) -> None:
        file = write(
            "selfservice: {flows: {login: {after: {default_browser_return_url: 'https://a.example/', "
            "hooks: [{hook: web_hook}], password: {default_browser_return_url: 'https://b.example/'}}}}}"
        )
        after = read(file).selfservice.flows.login.after
        assert after.of("password").default_browser_return_url == "https://b.example/"
        for other in ("totp", "hooks", "of", "default_browser_return_url"):
            assert after.of(other).default_browser_return_url is None
            assert [hook.hook for hook in after.hooks_of(other)] == ["web_hook"]

    def test_the_session_cookie_follows_everything_that_overrides_something(self, write: Write) -> None:
        file = write(
            "serve: {public: {base_url: 'https://a.example'}}\n"
            "cookies: {domain: a.example, path: /x}\nsession: {cookie: {path: /y}}"
        )
        cookie = read(file).session_cookie()
        assert (cookie.domain, cookie.path, cookie.secure, cookie.same_site) == ("a.example", "/y", True, "Lax")
        assert read().session_cookie().secure is False

    def test_our_own_schema_is_a_file_that_can_be_read(self) -> None:
        (schema,) = read().identity.schemas
        assert schema.url == "builtin://customer"
        traits = json.loads(Path(schema.location.removeprefix("file://")).read_text())["properties"]["traits"]
        assert traits["properties"]["email"]["ory.sh/kratos"]["credentials"].keys() == {"password", "code"}

    def test_cookie_secrets_fall_back_on_the_default_ones(self) -> None:
        settings = read(environ={"SECRETS_DEFAULT": "0123456789abcdef0123456789abcdef"})
        assert settings.secrets.for_cookies() == settings.secrets.for_all_else()


WRONG: tuple[Any, ...] = ([], {}, "\u00a7", 1.5, -1, True, "x" * 250, [1], ["\u00a7"], [{}], [[]])


def _one_wrong(path: str) -> Iterator[Any]:
    """Yield trees with one wrong value: beside it the lists that lead there have one item each."""
    for value in WRONG:
        tree = value
        for step in reversed(path.replace("[]", ".[]").split(".")):
            tree = [tree] if step == "[]" else {step: tree}
        yield tree


def test_no_fault_is_told_in_the_words_of_the_library() -> None:
    """Every setting of the catalogue gets every wrong value; the library's own sentence is for nothing known."""
    untold: set[tuple[str, str]] = set()
    for key in known_keys():
        for tree in _one_wrong(key.path) if key.later is None else ():
            try:
                Settings.model_validate(tree, context=Remarks())
            except ValidationError as invalid:
                kinds = {error["type"] for error in invalid.errors(include_url=False)}
                untold |= {(key.path, kind) for kind in kinds - {*SENTENCES, "value_error"}}
    assert not untold


def at(place: str, value: Any) -> Any:
    """Return a tree with a value at a place, with one item in each list."""
    for step in reversed(place.split(".")):
        name, is_list = step.removesuffix("[]"), step.endswith("[]")
        value = {name: [value] if is_list else value}
    return value


class TestEmptySections:
    @pytest.mark.parametrize("place", sorted(sections_in_effect()))
    def test_an_empty_section_counts_as_set(self, place: str) -> None:
        assert sort(at(place, {})).tree == at(place, {})

    def test_one_of_which_nothing_is_in_effect_is_left_out(self) -> None:
        waiting = sorted(place for place in sections() - sections_in_effect() if "[]" not in place)
        assert waiting
        for place in waiting:
            assert place not in str(sort(at(place, {})).tree)
            assert not sort(at(place, {})).problems

    def test_a_client_that_may_ask_with_every_default(self, write: Write) -> None:
        key, other = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe", "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX"
        client = {"id": "orders", "secrets": [key], "audiences": ["stock"], "introspection": {}}
        tree: dict[str, Any] = {"tokens": {"clients": [client]}}
        [read_client] = read(write(json.dumps(tree))).tokens.clients
        assert read_client.introspection is not None
        for caller in ({"id": "orders", "keys": [other]}, {"id": "engine", "keys": [key]}):
            [sentence] = sentences(write(json.dumps({**tree, "introspection": {"callers": [caller]}})))
            assert "is a caller of introspection" in sentence or "give each its own" in sentence
