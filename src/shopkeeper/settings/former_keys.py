"""Keys of older Kratos releases, back to v0.5 and some from before, as data: read under today's names, with a notice.

To add one, add a line to `FORMER`; the variables of the environment and the documentation follow from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from shopkeeper.settings.catalogue import env_name, known_keys
from shopkeeper.settings.tree_paths import Steps, pattern_of, steps_of, translated


@dataclass(frozen=True, slots=True)
class Former:
    """A key of older releases. Everything below `old` moves to `new`; `*` is any one name, `[]` any index.

    `until` is the last release that used it. Without `new` the key has no successor, and `instead` says what to do.
    """

    old: str
    new: str = ""
    until: str = "v0.5"
    instead: str = ""


# Earlier lines first: a later line may rename what an earlier one has moved.
FORMER: Final = (
    Former("urls.self.public", "serve.public.base_url", "v0.3"),
    Former("urls.self.admin", "serve.admin.base_url", "v0.3"),
    Former("urls.default_return_to", "selfservice.default_browser_return_url", "v0.3"),
    Former("urls.whitelisted_return_to_urls", "selfservice.allowed_return_urls", "v0.3"),
    Former("urls.login_ui", "selfservice.flows.login.ui_url", "v0.3"),
    Former("urls.registration_ui", "selfservice.flows.registration.ui_url", "v0.3"),
    Former("urls.settings_ui", "selfservice.flows.settings.ui_url", "v0.3"),
    Former("urls.verify_ui", "selfservice.flows.verification.ui_url", "v0.3"),
    Former("urls.error_ui", "selfservice.flows.error.ui_url", "v0.3"),
    Former("urls.mfa_ui", until="v0.3", instead="leave it out, because the sign-in page asks for a second factor"),
    Former("ttl.session", "session.lifespan", "v0.3"),
    Former("security.session.cookie.same_site", "session.cookie.same_site", "v0.3"),
    Former("session.cookie_same_site", "session.cookie.same_site", "v0.4"),
    Former("secrets.session", "secrets.cookie", "v0.3"),
    Former("identity.traits", "identity", "v0.4"),
    Former("selfservice.logout.redirect_to", "selfservice.flows.logout.after.default_browser_return_url", "v0.3"),
    Former("selfservice.login", "selfservice.flows.login", "v0.3"),
    Former("selfservice.registration", "selfservice.flows.registration", "v0.3"),
    Former("selfservice.settings", "selfservice.flows.settings", "v0.3"),
    Former("selfservice.verify", "selfservice.flows.verification", "v0.3"),
    Former("selfservice.verification", "selfservice.flows.verification", "v0.3"),
    Former("selfservice.flows.*.request_lifespan", "selfservice.flows.*.lifespan", "v0.4"),
    Former(
        "selfservice.flows.verification.link_lifespan",
        until="v0.3",
        instead="write selfservice.methods.link.config.lifespan today",
    ),
    Former(
        "selfservice.flows.*.after.default_return_to",
        "selfservice.flows.*.after.default_browser_return_url",
        "v0.3",
    ),
    Former("selfservice.strategies", "selfservice.methods", "v0.5"),
    Former("selfservice.whitelisted_return_urls", "selfservice.allowed_return_urls", "v0.8"),
    Former("password", "selfservice.methods.password.config", "v0.5"),
    Former("hashers.argon2.minimal_duration", "hashers.argon2.expected_duration", "v0.5"),
    Former(
        "selfservice.methods.oidc.config.providers[].tenant",
        "selfservice.methods.oidc.config.providers[].microsoft_tenant",
        "v0.5",
    ),
    Former("courier.message_ttl", until="v0.9", instead="write courier.message_retries, a number of tries, today"),
    Former(
        "serve.public.domain_aliases",
        until="v0.8",
        instead="name the hosts in serve.public.allowed_hosts, and their common domain in cookies.domain",
    ),
    Former("profiling", instead="leave it out, because there is no profile to write"),
)
DEFAULT_SCHEMA_URL: Final = "identity.default_schema_url"
_DEFAULT: Final = "default"


@cache
def former_variables() -> Mapping[str, tuple[str, Former]]:
    """Return the former names of variables, each with its name of today; `#` stands for an index."""
    taken = {env_name(key.path) for key in known_keys()}
    found: dict[str, tuple[str, Former]] = {}
    for key in known_keys():
        for path in (key.path, f"{key.path}[]"):
            for older, former in _former_paths(steps_of(path), before=len(FORMER)):
                name = env_name(pattern_of(older))
                if name not in taken:
                    found.setdefault(name, (env_name(path), former))
    return found


def _former_paths(path: Steps, *, before: int) -> Iterator[tuple[Steps, Former]]:
    """Yield every former path of a path, by reading the first lines of `FORMER` backwards."""
    for index in reversed(range(before)):
        former = FORMER[index]
        older = translated(path, former.new, former.old) if former.new else None
        if older is not None:
            yield older, former
            yield from _former_paths(older, before=index)


def table() -> str:
    """Return the table for the documentation: `python -m shopkeeper.settings.former_keys` prints it."""
    rows = [f"| `{former.old.replace('[]', '[n]')}` | {former.until} | {_today(former)} |" for former in FORMER]
    own = [
        f"| `{DEFAULT_SCHEMA_URL}` | v0.8 | `identity.schemas` with an entry `{{id: default, url: …}}` |",
        "| `hashers.argon2.memory: 131072` | v0.5 | a size with its unit: `128MB` |",
        "| a hook `verify` | v0.5 | nothing: `selfservice.flows.verification.enabled` is enough |",
        "| `kratos.config` | Helm | what is below it, in a file of its own |",
    ]
    return "\n".join(["| Formerly | Until | Today |", "| --- | --- | --- |", *rows, *own]) + "\n"


def _today(former: Former) -> str:
    return f"`{former.new.replace('[]', '[n]')}`" if former.new else former.instead


if __name__ == "__main__":
    print(table(), end="")
