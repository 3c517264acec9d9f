"""Go templates become Jinja where they only show values; anything else is refused with its line."""

import pytest

from shopkeeper.notify.go_templates import GoTemplateRefused, converted
from shopkeeper.notify.overrides import Override, templates_with
from shopkeeper.notify.samples import samples


def rendered(source: str, template: str = "recovery_valid", **values: object) -> str:
    templates = templates_with({f"{template}.txt.j2": Override("a.gotmpl", converted(source, template=template))})
    return templates.render(template, {**samples(), **values}).text.rstrip("\n")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "Hi, follow {{ .RecoveryURL }}",
            "Hi, follow https://shop.example/self-service/recovery?flow=3a9e0c1b&token=Yx3mR8",
        ),
        ("{{.To}}", "ada@example.org"),
        ("in {{ .ExpiresInMinutes }} minutes", "in 60 minutes"),
        ("a {{- .To -}} b", "aada@example.orgb"),
        ("a{{/* a comment {{ */}}b", "ab"),
        ("{{ .Identity.traits.name.first }} {{ .Identity.traits.email }}", "Ada ada@example.org"),
        ("[{{ .Identity.traits.unknown.deeper }}]", "[]"),
        ("[{{ .TransientPayload.campaign }}]", "[]"),
        ("{% raw %} {# not jinja #} }} {", "{% raw %} {# not jinja #} }} {"),
        ("no value", "no value"),
    ],
)
def test_a_template_that_shows_values_is_converted(source: str, text: str) -> None:
    assert rendered(source) == text


@pytest.mark.parametrize("field", ["RecoveryCode", "VerificationCode", "LoginCode", "RegistrationCode"])
def test_every_code_of_kratos_is_the_code(field: str) -> None:
    assert rendered(f"{{{{ .{field} }}}}", "login_code_valid") == "042137"


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("one\ntwo\n{{ if .To }}x{{ end }}", 3, "{{ if .To }} does more than showing a value"),
        ("{{ range .Identity.traits.list }}{{ . }}{{ end }}", 1, "range"),
        ("\n{{ .To | upper }}", 2, "{{ .To | upper }} does more"),
        ('{{ define "content" }}', 1, "define"),
        ('{{ template "x" . }}', 1, "template"),
        ("{{ printf .To }}", 1, "printf"),
        ('{{ "text" }}', 1, "text"),
        ("{{ $x := .To }}", 1, "$x"),
        ("{{ .To.x }}", 1, ".To.x"),
        ("{{ to }}", 1, "{{ to }}"),
        ("{{ cycler.__init__ }}", 1, "cycler"),
        ("a\n{{ .Unknown }}", 2, ".Unknown is not a value of recovery_valid; there are .To, "),
        ("{{ .LoginCode }}", 1, ".LoginCode is not a value of recovery_valid"),
        ("a\nb {{ .To", 2, "{{ has no }}"),
    ],
)
def test_anything_else_is_refused_with_its_line(source: str, line: int, said: str) -> None:
    with pytest.raises(GoTemplateRefused) as refused:
        converted(source, template="recovery_valid")
    assert refused.value.line == line
    assert said in str(refused.value)


def test_row_089_a_converted_html_template_escapes_its_values() -> None:
    source = converted('<a href="{{ .RecoveryURL }}">{{ .Identity.traits.name.first }}</a>', template="recovery_valid")
    templates = templates_with({"recovery_valid.html.j2": Override("a.gotmpl", source)})
    identity = {"traits": {"name": {"first": "<script>{{ to }}"}}}
    html = templates.render("recovery_valid", {**samples(), "identity": identity}).html
    assert "&amp;token=Yx3mR8" in html
    assert "&lt;script&gt;{{ to }}" in html
