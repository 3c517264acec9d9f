"""The table of every setting for `docs/reference/settings.md`: `python -m shopkeeper.settings.reference` prints it."""

from collections.abc import Iterator

from shopkeeper.settings.catalogue import Key, known_keys

_HEAD = ("Setting", "Environment", "Default", "In effect", "What it is for")


def table() -> str:
    """Return the table, one key in a line."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _line(*_HEAD)
    yield _line(*("---" for _ in _HEAD))
    for key in known_keys():
        yield _row(key)


def _row(key: Key) -> str:
    path = key.path.replace("[]", "[n]")
    env = f"`{key.env.replace('#', 'n')}`" if key.env else "–"
    default = key.default if key.default in {"required", "unset", "none"} else f"`{key.default}`"
    secret = f" Secret: also `{key.env.replace('#', 'n')}_FILE`." if key.secret and key.env else ""
    if key.later is None:
        return _line(f"`{path}`", env, default, "yes", f"{key.meaning}.{secret}")
    return _line(f"`{path}`", env, "–", "no" if key.later.never else "not yet", f"{key.meaning}.{secret}")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table(), end="")
