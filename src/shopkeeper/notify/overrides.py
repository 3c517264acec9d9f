"""Mail templates of the operator's own: from a folder, and from Kratos' `courier.templates`.

A folder (`courier.template_override_path`) may have, for each mail and each of its three parts:

- `<mail>.subject.j2`, `<mail>.txt.j2`, `<mail>.html.j2`: Jinja, as ours; `layout.txt.j2` and the like replace ours too;
- `<language>/<mail>.….j2`: the same for one language;
- `<type>/<valid|invalid>/email.subject.gotmpl`, `email.body.plaintext.gotmpl`, `email.body.gotmpl`: Kratos' layout.

A part that is not there is ours. What is broken ends the start with its file and line.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from traceback import extract_tb
from typing import Final
from urllib.parse import unquote

from jinja2 import TemplateSyntaxError

from shopkeeper.http_client import GuardedClient
from shopkeeper.languages.choice import LANGUAGES
from shopkeeper.notify.go_templates import GoTemplateRefused, converted
from shopkeeper.notify.references import Unreadable, from_file, load
from shopkeeper.notify.samples import bare, samples
from shopkeeper.notify.templates import TEMPLATES, MailTemplates

_GO_FILES: Final[Mapping[str, str]] = {
    "subject": "email.subject.gotmpl",
    "txt": "email.body.plaintext.gotmpl",
    "html": "email.body.gotmpl",
}
_TEXT_MESSAGE: Final = "sms.body.gotmpl"
_MOST_FILES: Final = 1000
_SHARED: Final = ("layout.txt.j2", "layout.html.j2", "parts.html.j2")


class OverrideBroken(ValueError):
    """A template that cannot be used. The sentence names its file and line, and ends the start."""

    def __init__(self, origin: str, reason: str, *, line: int | None = None) -> None:
        where = f"{origin}, line {line}" if line is not None else origin
        super().__init__(f"The mail template {where} cannot be used: {reason}")


@dataclass(frozen=True, slots=True)
class Override:
    """A template of the operator's own: where it comes from, and its Jinja source."""

    origin: str
    source: str


Overrides = Mapping[str, Override]
"""By the name of the template that they replace: `<mail>.<part>.j2`, with `<language>/` before it for one language."""


def from_folder(folder: Path, languages: Sequence[str]) -> Overrides:
    """Read the templates of a folder. Raises `OverrideBroken`."""
    if not folder.is_dir():
        raise OverrideBroken(str(folder), "there is no such folder")
    return {name: found for name, path in _places(folder, languages) if (found := _read(name, path)) is not None}


def unread(folder: Path, languages: Sequence[str]) -> Iterator[Path]:
    """Yield the templates in a folder that no mail uses, such as those with a misspelt name. Kratos' text messages are
    passed over, because none is sent."""
    read = {path for _, path in _places(folder, languages)}
    for path in islice(sorted(folder.rglob("*")), _MOST_FILES):
        if path.suffix in {".j2", ".gotmpl"} and path.name != _TEXT_MESSAGE and path not in read:
            yield path


async def from_settings(references: Mapping[str, str], client: GuardedClient) -> Overrides:
    """Load the templates of `courier.templates`, which are Go templates.

    Args:
        references: a `file://`, `base64://`, `https://` or `http://` address by `<mail>.<part>`.

    Raises `OverrideBroken`.
    """
    return {f"{name}.j2": await _load(name, reference, client) for name, reference in references.items()}


def templates_with(overrides: Overrides) -> MailTemplates:
    """Return our templates with those of the operator, after trying each with sample values in every language.

    Raises `OverrideBroken`.
    """
    templates = MailTemplates(overrides=overrides)
    known = samples()
    for template, locale in product(TEMPLATES if overrides else (), LANGUAGES):
        for given in (known, bare(template, known)):
            try:
                templates.render(template, given, locale=locale)
            except TemplateSyntaxError as broken:
                reason = f"{broken.message}."
                raise OverrideBroken(broken.filename or template, reason, line=broken.lineno) from broken
            except Exception as broken:  # what an operator's template may raise is not known
                origin, line = _place_of(broken, overrides)
                raise OverrideBroken(origin or template, f"{broken}.", line=line) from broken
    return templates


def _place_of(broken: Exception, overrides: Overrides) -> tuple[str | None, int | None]:
    """Return the file and line of a template in which an error was raised: Jinja gives its frames the template's."""
    origins = {override.origin for override in overrides.values()}
    frames = [frame for frame in extract_tb(broken.__traceback__) if frame.filename in origins]
    return (frames[-1].filename, frames[-1].lineno) if frames else (None, None)


def _places(folder: Path, languages: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield each file that may be in a folder, by the template that it replaces. Later ones win."""
    for template in TEMPLATES:
        for part, file in _GO_FILES.items():
            type_, _, validity = template.rpartition("_")
            if validity in {"valid", "invalid"}:
                yield f"{template}.{part}.j2", folder / type_ / validity / file
    ours = (*_SHARED, *(f"{template}.{part}.j2" for template in TEMPLATES for part in _GO_FILES))
    for name in ours:
        yield name, folder / name
        for language in languages:
            yield f"{language}/{name}", folder / language / name


def _read(name: str, path: Path) -> Override | None:
    if not path.exists():
        return None
    try:
        return _override(name, from_file(path), str(path), go=path.suffix == ".gotmpl")
    except Unreadable as unreadable:
        raise OverrideBroken(str(path), f"{unreadable}.", line=unreadable.line) from unreadable


async def _load(name: str, reference: str, client: GuardedClient) -> Override:
    template, _, part = name.partition(".")
    scheme, _, rest = reference.partition("://")
    origin = unquote(rest) if scheme == "file" else f"courier.templates, {template} ({part})"
    try:
        return _override(name, await load(reference, client), origin, go=True)
    except Unreadable as unreadable:
        raise OverrideBroken(origin, f"{unreadable}.", line=unreadable.line) from unreadable


def _override(name: str, text: str, origin: str, *, go: bool) -> Override:
    if not go:
        return Override(origin, text)
    try:
        return Override(origin, converted(text, template=name.partition(".")[0]))
    except GoTemplateRefused as refused:
        raise OverrideBroken(origin, f"{refused}.", line=refused.line) from refused
