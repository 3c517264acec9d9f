"""Reads Go templates, in which Kratos' mail templates are written, as far as they only show values.

`{{ .RecoveryURL }}`, `{{- .To -}}`, `{{ .Identity.traits.name }}` and comments become Jinja. Conditions, loops,
functions and pipelines are not read: translating them by halves would send wrong mails. Each is refused with its line.
"""

import re
from collections.abc import Iterator
from typing import Final

from shopkeeper.notify.templates import OPTIONAL, TEMPLATES

FIELDS: Final = {
    "To": "to",
    "RecoveryURL": "recovery_url",
    "RecoveryCode": "code",
    "VerificationURL": "verification_url",
    "VerificationCode": "code",
    "LoginCode": "code",
    "RegistrationCode": "code",
    "ExpiresInMinutes": "expires_in_minutes",
    "RequestURL": "request_url",
    "Identity": "identity",
    "Traits": "traits",
    "TransientPayload": "transient_payload",
}
"""Kratos' template data by the names of ours. What is below `Identity`, `Traits` and
`TransientPayload` has the API's names."""

_ACTION: Final = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.DOTALL)
_COMMENT: Final = re.compile(r"\s*/\*.*?\*/\s*", re.DOTALL)
_FIELD: Final = re.compile(r"\s*\.(?P<field>[A-Z]\w*)(?P<path>(?:\.[A-Za-z_]\w*)*)\s*", re.ASCII)
_WITH_PATH: Final = frozenset({"Identity", "Traits", "TransientPayload"})
_LONGEST_SHOWN: Final = 60


class GoTemplateRefused(ValueError):
    """A Go template that does more than showing values. `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def converted(source: str, *, template: str) -> str:
    """Return a Go template of a mail as Jinja. Raises `GoTemplateRefused`.

    >>> converted("Hi {{ .Identity.traits.name }}, go to {{.RecoveryURL}}", template="recovery_valid")
    'Hi {{ identity | at("traits", "name") }}, go to {{ recovery_url | at }}'
    """
    return "".join(_parts(source, TEMPLATES[template] | OPTIONAL, template))


def _parts(source: str, known: frozenset[str], template: str) -> Iterator[str]:
    end = 0
    for action in _ACTION.finditer(source):
        yield _literal(source, end, action.start())
        yield _action(action, known, template)
        end = action.end()
    yield _literal(source, end, len(source))


def _literal(source: str, start: int, end: int) -> str:
    """Return text between actions, with what would mean something to Jinja written as a value."""
    text = source[start:end]
    if (unclosed := text.find("{{")) >= 0:
        raise GoTemplateRefused(_line(source, start + unclosed), "{{ has no }}")
    return re.sub(r"\{[%#]", lambda found: f'{{{{ "{found[0]}" }}}}', text)


def _action(action: re.Match[str], known: frozenset[str], template: str) -> str:
    line = _line(action.string, action.start())
    before, inside, after = action[1] or "", action[2], action[3] or ""
    if _COMMENT.fullmatch(inside):
        return f"{{#{before} {after}#}}"
    found = _FIELD.fullmatch(inside)
    if found is None or (found["path"] and found["field"] not in _WITH_PATH):
        shown = " ".join(inside.split())[:_LONGEST_SHOWN]
        raise GoTemplateRefused(
            line,
            f"{{{{ {shown} }}}} does more than showing a value. Only values like {{{{ .RecoveryURL }}}} are read from "
            "Go templates; write this one as a Jinja template (.j2)",
        )
    name = FIELDS.get(found["field"])
    if name not in known:
        shown = ", ".join(f".{field}" for field, ours in FIELDS.items() if ours in known)
        raise GoTemplateRefused(line, f".{found['field']} is not a value of {template}; there are {shown}")
    path = ", ".join(f'"{key}"' for key in found["path"].split(".")[1:])
    return f"{{{{{before} {name} | at{f'({path})' if path else ''} {after}}}}}"


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1
