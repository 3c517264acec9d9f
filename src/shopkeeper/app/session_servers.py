"""Build the providers of kind `kratos`: servers with Kratos' API that keep the sessions of stores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shopkeeper.app.identity_providers import fronts_of
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.http.session_server_cookies import ServerCookieFinder, ServerCookies
from shopkeeper.http.session_server_paths import ProxiedServer
from shopkeeper.http.session_server_responses import ServerAddresses
from shopkeeper.openid.calls import Limits, ProviderCalls
from shopkeeper.sessions.service import TOKEN_PREFIX
from shopkeeper.settings import Settings
from shopkeeper.settings.kratos_provider import KratosProvider
from shopkeeper.upstream.kratos import KratosSessions, SessionServer
from shopkeeper.upstream.kratos_by_store import KratosSessionsByStore
from shopkeeper.upstream.session_answers import SessionAnswers
from shopkeeper.upstream.token_questions import TokenQuestions

QUESTIONS = 50
"""Questions about sessions to one server at a time: they are asked in the middle of requests."""
PASSED_ON = 30
"""Requests of self-service that are passed on to one server at a time. They have places of their own: a slow page of
the server must not make the questions about sessions wait."""


@dataclass(frozen=True, slots=True)
class SessionServers:
    """The session servers by the id of their provider, and what they have answered."""

    servers: Mapping[str, ProxiedServer]
    answers: SessionAnswers

    @property
    def by_store(self) -> KratosSessionsByStore:
        """The sessions by the stores that take them."""
        return KratosSessionsByStore(self.sessions)

    @property
    def cookies(self) -> ServerCookieFinder:
        """Their session cookies in requests."""
        servers = [(server.sessions.server, server.cookies) for server in self.servers.values()]
        return ServerCookieFinder(servers, own_prefix=TOKEN_PREFIX)

    @property
    def sessions(self) -> Mapping[str, KratosSessions]:
        """The sessions of each server, by the id of its provider."""
        return {provider: server.sessions for provider, server in self.servers.items()}


def build_session_servers(infrastructure: Infrastructure, *, questions: Mapping[str, TokenQuestions]) -> SessionServers:
    """Build them, with the limits of each by the id of its provider. None is called yet, so that one that is down stops
    no start."""
    sections = _sections(infrastructure)
    longest = max((section.cache_for for section in sections), default=timedelta())
    answers = SessionAnswers(infrastructure.cache, clock=infrastructure.clock, longest=longest)
    servers = {section.id: _proxied(section, infrastructure, answers, questions[section.id]) for section in sections}
    return SessionServers(servers, answers)


def _sections(infrastructure: Infrastructure) -> Sequence[KratosProvider]:
    return [section for section in infrastructure.settings.providers if isinstance(section, KratosProvider)]


def _proxied(
    section: KratosProvider, infrastructure: Infrastructure, answers: SessionAnswers, questions: TokenQuestions
) -> ProxiedServer:
    server = _server_of(section, infrastructure)
    pages = {kind: url for kind, url in section.ui.model_dump().items() if url is not None}
    return ProxiedServer(
        sessions=KratosSessions(
            server,
            calls=_calls(section, infrastructure, places=QUESTIONS),
            answers=answers,
            questions=questions,
            clock=infrastructure.clock,
        ),
        calls=_calls(section, infrastructure, places=PASSED_ON),
        mode=section.self_service,
        addresses=ServerAddresses(server.public_url, infrastructure.base_url, pages=pages),
        cookies=ServerCookies(section.id, secure=infrastructure.base_url.startswith("https://")),
    )


def _calls(section: KratosProvider, infrastructure: Infrastructure, *, places: int) -> ProviderCalls:
    limits = Limits(call=section.deadline.total_seconds(), places=places)
    return ProviderCalls(infrastructure.http_client, infrastructure.clock, limits)


def _fronts(section: KratosProvider, settings: Settings) -> frozenset[str]:
    """Return the ids of the fronts that take a server's sessions: those that name it, unless the settings list others.

    Stores with `own` take none by themselves: every session of theirs that has ended would be asked for there.
    """
    if section.stores:
        return fronts_of(section, settings)
    naming = tuple(store.id for store in settings.stores if store.provider == section.id)
    return fronts_of(section.model_copy(update={"stores": naming}), settings) if naming else frozenset()


def _server_of(section: KratosProvider, infrastructure: Infrastructure) -> SessionServer:
    by_us = section.self_service != "off"
    return SessionServer(
        id=section.id,
        public_url=section.issuer,
        cookie=section.cookie,
        token_prefix=section.token_prefix,
        required_aal=section.required_aal,
        cache_for=section.cache_for,
        deadline=section.deadline,
        groups_from=section.groups_from,
        stores=_fronts(section, infrastructure.settings),
        second_factor_url=(
            f"{infrastructure.base_url if by_us else section.issuer}/self-service/login/browser?aal=aal2"
        ),
    )
