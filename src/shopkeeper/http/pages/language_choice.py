"""The choice of a language, which every page offers: links to the same page, without a script.

A link adds `lang` to the page's own address, and names no other, so that it leads nowhere else. The answer remembers
the choice in a cookie; a signed-in customer's is also kept with the session and the identity, for their mails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request

from shopkeeper.flows.flow import Caller
from shopkeeper.http.caller_reader import chosen_language
from shopkeeper.identity.service import Identities
from shopkeeper.languages.choice import LANGUAGE_PARAMETER, NAMES
from shopkeeper.sessions.service import Sessions
from shopkeeper.storage.database import Database


@dataclass(frozen=True, slots=True)
class LanguageLink:
    """A link to the page in a language; `name` is what the language calls itself."""

    language: str
    name: str
    href: str


class LanguageChoice:
    """Offers the languages, and keeps the one that a customer chooses.

    Args:
        home: the path of our first page, for answers to forms: their own address shows no page.
    """

    def __init__(self, *, database: Database, sessions: Sessions, identities: Identities, home: str) -> None:
        self._database = database
        self._sessions = sessions
        self._identities = identities
        self._home = home

    def links(self, request: Request) -> Sequence[LanguageLink]:
        """Return a link to this page for each language."""
        shows_page = request.method in {"GET", "HEAD"}
        kept = [each for each in request.query_params.multi_items() if each[0] != LANGUAGE_PARAMETER]
        path, query = ("", kept) if shows_page else (self._home, [])
        return [
            LanguageLink(language, name, f"{path}?{urlencode([*query, (LANGUAGE_PARAMETER, language)])}")
            for language, name in NAMES.items()
        ]

    async def remember(self, request: Request, caller: Caller) -> None:
        """Keep the language that a signed-in customer chooses.

        A link on another site cannot choose it for them, nor can an agent who acts as the customer.
        """
        chosen, session = chosen_language(request), caller.session
        if chosen is None or session is None or caller.from_foreign_page or caller.impersonation:
            return
        if (session.locale, session.identity.locale) == (chosen, chosen):
            return
        async with self._database.unit() as unit:
            await self._identities.choose_locale(unit, session.identity.id, chosen)
            await self._sessions.choose_locale(unit, session.id, chosen)
