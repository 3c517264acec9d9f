"""A terminal with the commands of our pages and no others: variables, `curl` with a few options, `jq` with a path, and
`shopkeeper` with its output in a file.

So the examples run on machines that have neither `curl` nor `jq`, and a page that needs more than this is too
complicated. Nothing is sent but what was typed, and the headers that `curl` adds by itself.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from typer.testing import CliRunner

from shopkeeper.cli import cli

_ASSIGNED = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_CAPTURED = re.compile(r"\$\((?P<command>.*)\)", re.DOTALL)
_PART = re.compile(
    r"""'(?P<plain>[^']*)'|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s'"|]+)|(?P<gap>\s+)|(?P<pipe>\|)""", re.DOTALL
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_STEP = re.compile(r"\.(?P<name>\w+)?(?:\[(?P<index>\d+)\])?")


class NotTaught(Exception):
    """The terminal does not support this."""


class NothingCaptured(Exception):
    """A variable was to be taken from an answer that does not have it."""


@dataclass
class Call:
    """The request of a `curl` command."""

    url: str = ""
    method: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    form: list[tuple[str, str]] = field(default_factory=list)
    show_headers: bool = False
    write: str | None = None
    into: str | None = None
    read_jar: bool = False
    write_jar: bool = False


class Terminal:
    """A session: its variables, its cookie jars, and the real addresses behind those on the pages."""

    def __init__(self, addresses: Mapping[str, str], folder: Path) -> None:
        self._addresses = addresses
        self._folder = folder
        self.variables: dict[str, str] = {}
        self.jar: dict[str, str] = {}

    def run(self, command: str) -> str:
        """Run a command; return its output with the addresses that the pages use."""
        command = self._real(command)
        assigned = _ASSIGNED.fullmatch(command)
        if assigned is None:
            return self._shown(self._pipeline(command))
        captured = _CAPTURED.fullmatch(assigned["value"])
        value = self._pipeline(captured["command"]).strip() if captured else "".join(self._words(assigned["value"])[0])
        if captured and value in {"", "null"}:
            raise NothingCaptured(f"${assigned['name']} is {value!r} after {command}")
        self.variables[assigned["name"]] = value
        return ""

    def filled(self, text: str) -> str:
        """Return a text with the values of the variables in it."""
        return _VARIABLE.sub(lambda name: self.variables[name[1] or name[2]], text)

    def ask(self, document: str, *, headers: Sequence[tuple[str, str]], variables: str) -> str:
        """Send a GraphQL document to the page's server, in the form of `curl` with `$JSON`; return the answer."""
        given = json.loads(self.filled(variables))
        body = json.dumps({"query": document, **({"variables": given} if given else {})})
        named = [*headers, ("content-type", "application/json")]
        call = Call(url=f"{self.variables['SHOP']}/graphql", headers=named, body=[body])
        return self._shown(self._send(call))

    def _pipeline(self, command: str) -> str:
        said = ""
        for program, *arguments in self._words(command):
            into = arguments.pop() if arguments[-2:-1] == [">"] else None
            said = self._program(program)([word for word in arguments if word != ">"], said)
            if into is not None:
                said = self._kept(into, said)
        return said

    def _jq(self, arguments: Sequence[str], said: str) -> str:
        """Run `jq` on what was said before it, or on a file that is named behind the path."""
        words = [word for word in arguments if not word.startswith("-")]
        if len(words) < 2:
            return jq(arguments, said)
        return jq([word for word in arguments if word != words[1]], (self._folder / words[1]).read_text("utf-8"))

    def _kept(self, name: str, said: str) -> str:
        (self._folder / name).write_text(said, encoding="utf-8")
        return ""

    def _program(self, name: str) -> Callable[[Sequence[str], str], str]:
        known = {"curl": self._curl, "jq": self._jq, "shopkeeper": _shopkeeper}
        if name not in known:
            raise NotTaught(f"the terminal of the examples has no program {name!r}")
        return known[name]

    def _words(self, command: str) -> list[list[str]]:
        """Return the words of each command of a pipe, as a shell would read them."""
        commands: list[list[str]] = [[]]
        joined, at = False, 0
        while at < len(command):
            part = _PART.match(command, at)
            if part is None:
                raise NotTaught(f"cannot read {command[at:]!r}")
            at = part.end()
            if part["pipe"]:
                commands.append([])
            elif part["gap"] is None:
                text = self._text(part)
                commands[-1] = [*commands[-1][:-1], commands[-1][-1] + text] if joined else [*commands[-1], text]
            joined = part["gap"] is None and part["pipe"] is None
        return commands

    def _text(self, part: re.Match[str]) -> str:
        if part["plain"] is not None:
            return part["plain"]
        text = part["bare"] if part["quoted"] is None else re.sub(r'\\(["\\$])', r"\1", part["quoted"])
        return self.filled(text)

    def _real(self, text: str) -> str:
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        return text

    def _shown(self, said: str) -> str:
        for shown, real in self._addresses.items():
            said = said.replace(real, shown)
        return said

    # -- curl ----------------------------------------------------------------------------------------------------------

    def _curl(self, arguments: Sequence[str], _: str) -> str:
        return self._send(read_call(arguments))

    def _send(self, call: Call) -> str:
        parts = urlsplit(call.url)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            body = _multipart(call.form) if call.form else "&".join(call.body).encode() or None
            connection.request(call.method or ("POST" if body else "GET"), path, body, self._headers(call))
            answer = connection.getresponse()
            return self._told(call, answer, answer.read().decode())
        finally:
            connection.close()

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"accept": "*/*", "user-agent": "curl"}
        if call.body:
            headers["content-type"] = "application/x-www-form-urlencoded"
        if call.read_jar and self.jar:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        given = {name.lower(): value for name, value in call.headers}
        if call.form:  # `curl` adds the boundary to a content type that is given
            given["content-type"] = f"{given.get('content-type', 'multipart/form-data')}; boundary={_BOUNDARY}"
        return {**headers, **given}

    def _told(self, call: Call, answer: HTTPResponse, body: str) -> str:
        if call.write_jar:
            self._keep_cookies(answer)
        written = ""
        if call.write is not None:
            location = answer.headers.get("location", "")
            written = call.write.replace("%{http_code}", str(answer.status)).replace("%{redirect_url}", location)
            written = _HEADER_VALUE.sub(lambda name: answer.headers.get(name[1], ""), written)
            written = written.replace("\\n", "\n")
        head = _head(answer) if call.show_headers else ""
        if call.into is None:
            return f"{head}{body}{written}"
        if call.into != "/dev/null":
            self._kept(call.into, body)
        return written

    def _keep_cookies(self, answer: HTTPResponse) -> None:
        for line in answer.headers.get_all("set-cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            gone = "max-age=0" in line.lower()
            self.jar = {**{k: v for k, v in self.jar.items() if k != name}, **({} if gone else {name: value})}


_HEADER_VALUE = re.compile(r"%header\{([^}]*)\}")
"""A header of the answer, as `curl -w` writes it."""


def _head(answer: HTTPResponse) -> str:
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{n.lower()}: {v}" for n, v in answer.headers.items())]
    return "\n".join(lines) + "\n\n"


def read_call(arguments: Sequence[str]) -> Call:
    """Read the arguments of `curl`. Raises `NotTaught` for an option that no page has used so far."""
    call, rest = Call(), list(arguments)
    while rest:
        word = rest.pop(0)
        if word in _FLAGS:
            _FLAGS[word](call)
        elif word in _OPTIONS:
            _OPTIONS[word](call, rest.pop(0))
        elif word.startswith("-") or call.url:
            raise NotTaught(f"the terminal of the examples does not know curl's {word!r}")
        else:
            call.url = word
    return call


def _header(call: Call, line: str) -> None:
    name, _, value = line.partition(":")
    call.headers.append((name.strip(), value.strip()))


def _set(name: str, value: Any = None) -> Callable[..., None]:
    return lambda call, given=value: setattr(call, name, given if value is None else value)


_FLAGS: Mapping[str, Callable[[Call], None]] = {"-s": lambda _: None, "-i": _set("show_headers", True)}
_OPTIONS: Mapping[str, Callable[[Call, str], None]] = {
    "-X": _set("method"),
    "-H": _header,
    "-d": lambda call, text: call.body.append(text),
    "--data-urlencode": lambda call, text: call.body.append(_urlencoded(text)),
    "-u": lambda call, text: _header(call, f"Authorization: Basic {base64.b64encode(text.encode()).decode()}"),
    "-w": _set("write"),
    "-o": _set("into"),
    "--request": _set("method"),
    "--url": _set("url"),
    "--header": _header,
    "--form": lambda call, text: call.form.append(tuple(text.split("=", 1))),
    "-b": _set("read_jar", True),
    "-c": _set("write_jar", True),
}


_BOUNDARY = "------------------------3769f5c47b383758"


def _multipart(fields: Sequence[tuple[str, str]]) -> bytes:
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields
    ]
    return "".join([*parts, f"--{_BOUNDARY}--\r\n"]).encode()


def _urlencoded(text: str) -> str:
    name, _, value = text.partition("=")
    return f"{name}={quote(value, safe='')}"


def _shopkeeper(arguments: Sequence[str], _: str) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


# -- jq ----------------------------------------------------------------------------------------------------------------


def jq(arguments: Sequence[str], said: str) -> str:
    """Run `jq` with a path such as `.data.getCart.id`, or without; `-r` prints a text bare, `-c` all in one line."""
    flags = {word for word in arguments if word.startswith("-")}
    paths = [word for word in arguments if word not in flags]
    if not flags <= {"-r", "-c"} or len(paths) > 1:
        raise NotTaught(f"the terminal of the examples does not know jq {arguments}")
    found = follow(json.loads(said), paths[0] if paths else ".")
    if "-r" in flags and isinstance(found, str):
        return f"{found}\n"
    indent = None if "-c" in flags else 2
    return json.dumps(found, ensure_ascii=False, indent=indent) + "\n"


def follow(document: Any, path: str) -> Any:
    """Return the value at a path of names and numbers in a document."""
    steps = [step for step in _STEP.finditer(path) if step.group() != "."]
    if "".join(step.group() for step in steps) != path.removesuffix(".") and path != ".":
        raise NotTaught(f"the terminal of the examples does not know the path {path!r}")
    for step in steps:
        if step["name"]:
            document = document.get(step["name"]) if isinstance(document, Mapping) else document[step["name"]]
        document = document[int(step["index"])] if step["index"] else document
    return document
