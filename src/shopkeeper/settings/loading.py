"""Loads `Settings` from files and the environment."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shopkeeper.settings import development
from shopkeeper.settings.catalogue import known_keys
from shopkeeper.settings.environment import find_variables, former_names, over, slips
from shopkeeper.settings.file_state import look_at
from shopkeeper.settings.files import Tree, merge, read_files
from shopkeeper.settings.identity_providers import as_written, kind_of_setting
from shopkeeper.settings.older_releases import convert, rename
from shopkeeper.settings.problems import Problem, SettingsError, dotted, explain
from shopkeeper.settings.root import Remarks, Settings
from shopkeeper.settings.unknown_keys import hooks_not_in_effect, not_in_effect, sort

# Defaults of --dev. The throttle's budgets are large, because a test suite signs up and in from one address.
DEVELOPMENT: Final[Tree] = {
    "serve": {"public": {"host": "127.0.0.1"}, "admin": {"host": "127.0.0.1"}},
    "log": {"format": "text"},
    "throttle": {
        "login": {"per_ip": "600/minute"},
        "registration": {"per_ip": "600/minute"},
        "code": {"per_ip": "600/minute", "per_recipient": "600/hour", "per_pair": "600/hour"},
        "settings": {"per_account": "600/minute"},
        "refresh": {"per_ip": "6000/minute", "per_session": "600/minute"},
        "error": {"per_ip": "600/minute"},
        "provider": {"per_ip": "600/minute"},
        "client": {"per_ip": "600/minute"},
        "token": {"per_ip": "600/minute"},
    },
    "graphql": {"introspection": True, "playground": True},
}

# Defaults of --demo: registering signs in, and one-time codes, recovery and verification are on.
_SIGNS_IN: Final[Tree] = {"hooks": [{"hook": "session"}]}
DEMONSTRATION: Final[Tree] = {
    "selfservice": {
        "methods": {"code": {"passwordless_enabled": True}},
        "flows": {
            "registration": {"after": {"password": _SIGNS_IN, "code": _SIGNS_IN, "oidc": _SIGNS_IN}},
            "recovery": {"enabled": True},
            "verification": {"enabled": True},
        },
    }
}


def load(
    files: Sequence[Path], environ: Mapping[str, str], *, dev: bool, demo: bool, keep_secrets: bool = True
) -> Settings:
    """Load the settings. Raises `SettingsError` with every problem, one sentence each.

    Args:
        files: YAML, JSON or TOML files, merged in order.
        environ: the environment; it overrides the files.
        dev: the `--dev` switch; a file may also set `dev: true`, the environment may not.
        demo: the `--demo` switch; a file may also set `demo: true`, the environment may not.
        keep_secrets: whether generated secrets of `--dev` are written to a file; False for commands that only read.
    """
    variables = find_variables(environ)
    named = (Path(environ[variable.name].rstrip("\r\n")) for variable in variables if variable.in_file)
    looked = {file: look_at(file) for file in (*files, *named)}
    tree, unreadable = read_files(files)
    renamed = rename(tree)
    tree, unusable = over(renamed.tree, variables, environ)
    converted = convert(tree)
    sorted_ = sort(converted.tree)
    tree = _started(sorted_.tree, dev=dev, demo=demo)
    origins = {dotted(variable.path): variable.name for variable in variables}
    problems = [*unreadable, *renamed.problems, *unusable, *converted.problems, *sorted_.problems]
    bare = _validated(tree, problems=problems, origins=origins, remarks=Remarks())
    tree = merge(_pages(bare.serve.public.base_url), tree)
    waiting = (*not_in_effect(sorted_.later), *hooks_not_in_effect(tree))
    others = [*renamed.notices, *former_names(variables), *converted.notices, *slips(environ)]
    configured = tree.get("secrets", {})
    if bare.dev:
        tree["secrets"], made = development.fill_in(configured, dsn=bare.dsn, keep=keep_secrets)
        others += made
    made_up = frozenset(name for name in tree.get("secrets", {}) if not configured.get(name))
    remarks = Remarks(not_in_effect=waiting, others=tuple(others), files=looked, made_up=made_up)
    return _validated(tree, problems=(), origins=origins, remarks=remarks)


def _started(tree: Tree, *, dev: bool, demo: bool) -> Tree:
    """Return the tree with the switches, and with the defaults that depend on other settings, before validation."""
    switches = {name: True for name, on in (("dev", dev), ("demo", demo)) if on}
    tree = {**tree, **switches}
    if tree.get("dev") is True:
        tree = merge(DEVELOPMENT, tree)
    if tree.get("demo") is True:
        tree = merge(DEMONSTRATION, tree)
    under = {"serve": {name: {"base_url": url} for name, url in _addresses(tree.get("serve", {}))}}
    return merge(merge(under, _first_store(tree.get("stores"))), tree)


def _addresses(serve: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, port in (("public", 4433), ("admin", 4434)):
        given = str(serve.get(name, {}).get("port", port))
        usable = given.isascii() and given.isdigit() and 0 < int(given[:6]) < 65_536
        yield name, f"http://127.0.0.1:{int(given) if usable else port}/"


def _first_store(stores: Any) -> Tree:
    first = stores[0] if isinstance(stores, list) and stores else None
    return {"default_store": first["id"]} if isinstance(first, dict) and "id" in first else {}


def _pages(base_url: str) -> Tree:
    """Return the default addresses of our own pages, below the public address."""
    tree: Tree = {}
    for key in known_keys():
        if key.path.startswith("selfservice.") and key.default.startswith("/"):
            tree = merge(tree, _nested(key.path.split("."), base_url + key.default.removeprefix("/")))
    return tree


def _nested(path: Sequence[str], value: str) -> Tree:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


def _validated(tree: Tree, *, problems: Sequence[Problem], origins: Mapping[str, str], remarks: Remarks) -> Settings:
    try:
        settings = Settings.model_validate(tree, context=remarks)
    except ValidationError as invalid:
        raise SettingsError([*problems, *(_problem(error, origins) for error in _errors(invalid))]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _errors(invalid: ValidationError) -> Iterator[ErrorDetails]:
    """Yield the validation errors, without those of lists that are too short only because their entries are invalid."""
    errors = invalid.errors(include_url=False, include_input=False)
    for error in errors:
        length = len(error["loc"])
        below = any(len(other["loc"]) > length and other["loc"][:length] == error["loc"] for other in errors)
        if not (below and error["type"] == "too_short"):
            yield error


def _problem(error: ErrorDetails, origins: Mapping[str, str]) -> Problem:
    path = dotted(as_written(error["loc"]))
    origin = f" (it comes from {origins[path]})" if path in origins else ""
    kind = kind_of_setting(error["loc"]) if error["type"] == "extra_forbidden" else None
    fault = f"is only for providers of kind: {kind}; leave it out" if kind else explain(error)
    return Problem(path=path, sentence=f"{path} {fault}{origin}.".lstrip())
