"""The playground: a page to try queries on, for development. It loads nothing from other hosts."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files

_POLICY = (
    "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " style-src 'sha256-{style}'; script-src 'sha256-{script}'"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page with the headers that isolate it."""

    html: str
    headers: Mapping[str, str]


def playground_page(schema: str) -> Page:
    """Return the page, with the printed schema beside the editor."""
    style, script = _read("page.css"), _read("page.js")
    page = _read("page.html").replace("{{style}}", style).replace("{{script}}", script)
    policy = _POLICY.format(style=_digest(style), script=_digest(script))
    return Page(page.replace("{{schema}}", escape(schema)), {"Content-Security-Policy": policy})


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
