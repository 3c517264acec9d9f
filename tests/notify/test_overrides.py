"""An operator's own templates: which part replaces ours, and that a broken one is named with file and line."""

import base64
from pathlib import Path

import pytest

from shopkeeper.http_client import GuardedClient
from shopkeeper.languages.choice import LANGUAGES
from shopkeeper.notify.overrides import OverrideBroken, from_folder, from_settings, templates_with, unread
from shopkeeper.notify.references import LARGEST
from shopkeeper.notify.samples import samples
from shopkeeper.notify.templates import MailTemplates
from shopkeeper.notify.values import Mail
from tests.services.web import says, serving

ALLOWED = "127.0.0.2"


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mail(folder: Path, template: str, locale: str = "en") -> Mail:
    return templates_with(from_folder(folder, LANGUAGES)).render(template, samples(), locale=locale)


class TestFolder:
    def test_each_part_replaces_ours_alone(self, tmp_path: Path) -> None:
        write(tmp_path, "recovery_code/valid/email.subject.gotmpl", "Code {{ .RecoveryCode }}")
        write(tmp_path, "recovery_code/valid/email.body.gotmpl", "<b>{{ .RecoveryCode }}</b>")
        own, ours = mail(tmp_path, "recovery_code_valid"), MailTemplates().render("recovery_code_valid", samples())
        assert (own.subject, own.html) == ("Code 042137", "<b>042137</b>")
        assert own.text == ours.text

    def test_ours_may_be_extended_and_translated(self, tmp_path: Path) -> None:
        source = '{% extends "layout.html.j2" %}{% block content %}{{ _("Sign in") }} & {{ first_name }}{% endblock %}'
        write(tmp_path, "welcome.html.j2", source)
        assert "Anmelden & Ada" in mail(tmp_path, "welcome", "de").html
        assert '<html lang="de">' in mail(tmp_path, "welcome", "de").html

    def test_a_template_of_a_language_wins(self, tmp_path: Path) -> None:
        write(tmp_path, "welcome.subject.j2", "Welcome!")
        write(tmp_path, "de/welcome.subject.j2", "Willkommen!")
        assert [mail(tmp_path, "welcome", locale).subject for locale in ("en", "de", "es")] == [
            "Welcome!",
            "Willkommen!",
            "Welcome!",
        ]

    def test_templates_of_no_mail_are_found(self, tmp_path: Path) -> None:
        write(tmp_path, "welcome.subject.j2", "Welcome!")
        write(tmp_path, "de/welcome.html.j2", "Willkommen!")
        write(tmp_path, "layout.html.j2", "")
        write(tmp_path, "recovery_code/valid/email.body.gotmpl", "Hi")
        write(tmp_path, "recovery_code/valid/sms.body.gotmpl", "Hi")
        write(tmp_path, "logo.png", b"")
        wrong = [
            write(tmp_path, "recovery_code/valid/email.body.html.gotmpl", "Hi"),
            write(tmp_path, "wellcome.subject.j2", "Hi"),
        ]
        assert list(unread(tmp_path, LANGUAGES)) == wrong

    def test_the_layout_of_all_mails_may_be_replaced(self, tmp_path: Path) -> None:
        write(tmp_path, "layout.txt.j2", "{% block greeting %}{% endblock %}{% block content %}{% endblock %}OUR FOOT")
        assert mail(tmp_path, "password_changed").text.endswith("OUR FOOT\n")

    @pytest.mark.parametrize(
        ("name", "source", "line", "said"),
        [
            ("welcome.txt.j2", "one\n{% if %}", 2, "Expected an expression"),
            ("welcome.txt.j2", "one\ntwo\n{{ nonsense }}", 3, "'nonsense' is undefined"),
            ("de/welcome.txt.j2", "{{ first_name.x.y }}", 1, "has no attribute"),
            ("welcome.subject.j2", "{{ identity.traits }}", 1, "has no attribute"),
            ("welcome.txt.j2", "{{ ''.__class__.__mro__ }}", 1, "unsafe"),
            ("welcome.txt.j2", '{% include "/etc/passwd" %}', 1, "/etc/passwd"),
            ("login_code/valid/email.body.gotmpl", "a\n{{ range .To }}", 2, "does more than showing a value"),
            ("welcome.txt.j2", b"a\n\xff", 2, "not UTF-8"),
            ("welcome.txt.j2", b"a" * (LARGEST + 1), None, "larger than"),
        ],
    )
    def test_a_broken_template_is_named_with_its_line(
        self, tmp_path: Path, name: str, source: str | bytes, line: int | None, said: str
    ) -> None:
        path = write(tmp_path, name, source)
        with pytest.raises(OverrideBroken) as broken:
            mail(tmp_path, "welcome")
        where = f"{path}, line {line}" if line else str(path)
        assert str(broken.value).startswith(f"The mail template {where} cannot be used: ")
        assert said in str(broken.value)

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(OverrideBroken, match="nowhere cannot be used: there is no such folder"):
            from_folder(tmp_path / "nowhere", LANGUAGES)


class TestSettings:
    async def test_references_are_loaded(self, tmp_path: Path) -> None:
        file = write(tmp_path, "a b.gotmpl", "<p>{{ .LoginCode }}</p>")
        subject = base64.b64encode(b"Your code: {{ .LoginCode }}").decode()
        async with serving(ALLOWED) as server, GuardedClient(networks=[f"{ALLOWED}/32"]) as client:
            server.answers["/text"] = says(b"{{ .LoginCode }} it is")
            references = {
                "login_code_valid.subject": f"base64://{subject}",
                "login_code_valid.html": f"file://{str(file).replace(' ', '%20')}",
                "login_code_valid.txt": server.url("/text"),
            }
            templates = templates_with(await from_settings(references, client))
        shown = templates.render("login_code_valid", samples())
        assert (shown.subject, shown.text, shown.html) == (
            "Your code: 042137",
            "042137 it is\n",
            "<p>042137</p>",
        )

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("base64://%%%", "what follows base64:// is not base64"),
            ("base64://e3sgaWYgLlRvIH19", "line 1 cannot be used: {{ if .To }} does more"),
            ("file:///nowhere/x.gotmpl", "/nowhere/x.gotmpl cannot be used: it cannot be read"),
            ("http://127.0.0.1:1/x", "courier.templates, login_code_valid (txt) cannot be used: 127.0.0.1 is"),
        ],
    )
    async def test_what_cannot_be_loaded_is_named(self, reference: str, said: str) -> None:
        async with GuardedClient() as client:
            with pytest.raises(OverrideBroken) as broken:
                await from_settings({"login_code_valid.txt": reference}, client)
        assert said in str(broken.value)
