"""A flow: one self-service conversation, from opening to its end. Shapes follow Kratos (contract page 2.2).

A flow is a frozen value. It never contains passwords: of a submission, only the values of visible fields are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.client import Client
from shopkeeper.commerce.stores import STORE, TENANT
from shopkeeper.errors import Refusal
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.languages.choice import SOURCE
from shopkeeper.sessions.values import Session
from shopkeeper.ui.messages import Message
from shopkeeper.ui.nodes import Node

LOGIN: Final = "login"
REGISTRATION: Final = "registration"
RECOVERY: Final = "recovery"
VERIFICATION: Final = "verification"
SETTINGS: Final = "settings"
"""The kinds of flows: `Flow.kind`, and the name of each handler."""

OPERATOR: Final = "operator"
"""The key in a flow's context that marks the flows of operators."""
KEEP_SIGNED_IN: Final = "keep_signed_in"
"""The key in a flow's context of the choice to be kept signed in."""
FOLLOWER: Final = "follower"
"""The key in a flow's context of the browser that has followed its link (`followers.py`)."""
GUEST: Final = "guest"
"""The key in a flow's context of the guest who has asked for a mail, and the network of the request."""

SILENT: Final = "silent"
"""The key in a flow's context that marks a silent sign-on (`silent_sign_on.py`)."""
PENDING_LINK: Final = "_link"
"""The key in a flow's context of a credential that waits for a proof (`pending_links.py`)."""
STANDING: Final = "standing"
"""The key in what is kept of a pending link of the message that says what the flow is for."""
LED_TO: Final = "led_to"
"""The key in a flow's context of what has become of it: the flow that has taken its place, or how it has ended."""


class FlowType(StrEnum):
    """The kind of client: a browser (HTML or JSON), or a native app."""

    BROWSER = "browser"
    API = "api"


class FlowState(StrEnum):
    """The state of a flow (contract page 2.2)."""

    CHOOSE_METHOD = "choose_method"
    SENT_EMAIL = "sent_email"
    PASSED_CHALLENGE = "passed_challenge"
    SHOW_FORM = "show_form"
    SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class Flow:
    """A self-service flow.

    Args:
        csrf: digest of the anti-CSRF cookie of the browser that opened the flow; only that browser may continue it.
        context: what each method keeps between requests, by its name; it never leaves the server.
        version: increased by every write of the flow, so that of two concurrent submissions only one is stored.
        identity_id, session_id: the owner, for flows that belong to a session.
        identity: the owner as the caller knows them, for the answer; it is not stored.
        callback_method: the method whose callback is awaited; None while none is.
        callback_state: digest of the `state` that another server was given; None once its callback was answered.
        callback_binding: digest of the cookie of the browser that was redirected to another server. It stays, for a
            browser that comes back once more.
        exchange_init: digest of the code that the app got which opened the flow (`token_exchange.py`).
        exchange_return: digest of the code that the webview brings back to the app.
        exchange_session: the id of the session that the app gets, from the callback on.
        exchange_code: the app's code itself, for the answer that opens the flow; it is not stored.
    """

    id: UUID
    kind: str
    store: str
    type: FlowType
    request_url: str
    issued_at: datetime
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    state: FlowState = FlowState.CHOOSE_METHOD
    active: str | None = None
    return_to: str | None = None
    nodes: tuple[Node, ...] = ()
    messages: tuple[Message, ...] = ()
    csrf: bytes | None = None
    refresh: bool = False
    requested_aal: Aal = Aal.AAL1
    schema_id: str | None = None
    transient_payload: Mapping[str, Any] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    finished_at: datetime | None = None
    version: int = 0
    identity_id: UUID | None = None
    session_id: UUID | None = None
    callback_method: str | None = None
    callback_state: bytes | None = None
    callback_binding: bytes | None = None
    exchange_init: bytes | None = None
    exchange_return: bytes | None = None
    exchange_session: UUID | None = None
    identity: Identity | None = None
    exchange_code: str | None = None

    @property
    def by_operator(self) -> bool:
        """Whether an operator opened the flow for a customer: it is bound to no browser, only to its code or link."""
        return OPERATOR in self.context

    @property
    def silent(self) -> bool:
        """Whether nothing is shown of the flow: it signs in, or leaves everything as it was."""
        return SILENT in self.context

    @property
    def led_to(self) -> tuple[str, UUID] | None:
        """The kind and the id of the flow that has taken the place of this one, which has ended."""
        kept = self.remembered(LED_TO)
        return (kept["kind"], UUID(kept["id"])) if "id" in kept else None

    @property
    def led_to_end(self) -> bool:
        """Whether this flow has ended with a callback that has started no session, and led to its end."""
        return "end" in self.remembered(LED_TO)

    @property
    def links(self) -> bool:
        """Whether a proof in the flow adds a credential to the account."""
        return PENDING_LINK in self.context

    @property
    def shown_messages(self) -> tuple[Message, ...]:
        """What the form says: first what the flow is for, as long as it is for that; then what the last submission has
        come to."""
        standing = self.remembered(PENDING_LINK).get(STANDING)
        return (Message.from_wire(standing), *self.messages) if standing else self.messages

    @property
    def ended_as(self) -> str:
        """The kind of flow whose end that of this one was, where it has ended by a callback."""
        return str(self.remembered(LED_TO).get("as", self.kind))

    @property
    def follower(self) -> bytes | None:
        """The digest of the anti-CSRF cookie of the browser that has followed a mailed link to this flow."""
        kept = self.context.get(FOLLOWER)
        return bytes.fromhex(kept["csrf"]) if isinstance(kept, Mapping) else None

    def remembered(self, method: str) -> Mapping[str, Any]:
        """Return a method's context in this flow."""
        known = self.context.get(method, {})
        return known if isinstance(known, Mapping) else {}

    def remembering(self, method: str, context: Mapping[str, Any]) -> "Flow":
        """Return the flow with another context of one method; an empty one is removed."""
        others = {name: known for name, known in self.context.items() if name != method}
        return replace(self, context={**others, method: dict(context)} if context else others)

    def choosing(self, kept: bool) -> "Flow":
        """Return the flow with the choice to be kept signed in."""
        return replace(self, context={**self.context, KEEP_SIGNED_IN: kept})

    def for_app_of(self, flow: "Flow") -> "Flow":
        """Return the flow with the codes of another one, whose place it takes, for the app that waits for its end."""
        return replace(
            self,
            exchange_init=flow.exchange_init,
            exchange_return=flow.exchange_return,
            exchange_session=flow.exchange_session,
        )

    def showing(self, nodes: Iterable[Node], *messages: Message) -> "Flow":
        """Return the flow with another form."""
        return replace(self, nodes=tuple(nodes), messages=messages)

    def change_node(self, name: str, node: Node) -> "Flow":
        """Return the flow with one node in place of all nodes of its name."""
        return replace(self, nodes=tuple(node if old.name == name else old for old in self.nodes))

    @property
    def store_query(self) -> dict[str, str]:
        """The query parameters that named the store where this flow was opened, for links to another one."""
        return store_query(self.request_url)

    @property
    def opened_with(self) -> dict[str, str]:
        """The query parameters that open another flow like this: return address, store, and what was asked for."""
        asked = {
            "return_to": self.return_to,
            "refresh": "true" if self.refresh else None,
            "aal": self.requested_aal.value if self.requested_aal is not Aal.AAL1 else None,
            "identity_schema": self.schema_id,
            "return_session_token_exchange_code": "true" if self.exchange_init is not None else None,
        }
        return {**{name: value for name, value in asked.items() if value}, **self.store_query}

    @property
    def submit_query(self) -> str:
        """The query that the flow's form is sent with: the flow's id, and its store."""
        return urlencode({"flow": str(self.id), **self.store_query})

    def node(self, name: str) -> Node | None:
        """Return the first node of a name."""
        return next((node for node in self.nodes if node.name == name), None)


def store_query(url: str) -> dict[str, str]:
    """Return the query parameters of a URL that name a store."""
    query = parse_qs(urlsplit(url).query)
    return {name: query[name][0] for name in (STORE, TENANT) if name in query}


@dataclass(frozen=True, slots=True)
class Opening:
    """The parameters that a flow is opened with. `return_to` and the fields after it come from the query.

    `silent` opens a silent sign-on. `exchanges` says that an app wants codes to exchange for a session token.
    """

    type: FlowType
    request_url: str
    return_to: str | None = None
    refresh: bool = False
    aal: str | None = None
    schema_id: str | None = None
    silent: bool = False
    exchanges: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a flow, as plain facts that the route has read from the request.

    Args:
        locale: the language of what is answered and mailed.
        wished_language: the offered language that the visitor has chosen, or that the request asks for.
        csrf_tokens: the tokens in the anti-CSRF cookie; several where the cookie came several times.
        fresh_csrf: the token that the answer can give to a browser without one. It was not received: it only binds new
            flows, and proves nothing about the request.
        from_browser: whether the request has cookies or an `Origin`, which native apps never send.
        session: the caller's session, if it counts in this store.
        former: the session whose token the caller presented, in any store; it ends where another one takes its place.
        guests: the anonymous visitors whose carts may be merged, by their stores.
        callback_cookies: the cookie that binds a browser to the flow in which it was redirected to another server; all
            its values where it came several times.
        continuity_cookies: the cookie that binds a browser to a submission that waits for a new sign-in.
        from_foreign_page: whether a browser says that a page sent the request that is not one of ours.
        from_known_page: whether a browser says by `Origin` or `Sec-Fetch-Site` that a page did that is one of ours.
        doubles: the live sessions of a session cookie that came several times; they end when the caller signs out.
        impersonation: the impersonation in which an agent makes the request.
    """

    client: Client
    store: str
    locale: str = SOURCE
    wished_language: str | None = None
    csrf_tokens: tuple[bytes, ...] = ()
    fresh_csrf: bytes | None = None
    from_browser: bool = False
    session: Session | None = None
    former: Session | None = None
    guests: Mapping[str, str] = field(default_factory=dict)
    callback_cookies: tuple[str, ...] = ()
    continuity_cookies: tuple[str, ...] = ()
    from_foreign_page: bool = False
    from_known_page: bool = False
    doubles: Sequence[Session] = ()
    impersonation: UUID | None = None

    @property
    def guest(self) -> str | None:
        """The guest of this store."""
        return self.guests.get(self.store)

    @property
    def csrf(self) -> bytes | None:
        """The anti-CSRF token that was received."""
        return next(iter(self.csrf_tokens), None)

    @property
    def csrf_for_new(self) -> bytes | None:
        """The anti-CSRF token for a new form."""
        return self.csrf or self.fresh_csrf

    def csrf_for(self, flow: Flow) -> bytes | None:
        """Return the anti-CSRF token that the browser opened a flow with, or followed its link with; None for another
        browser.

        A flow that belongs to an account is bound to that instead: signing in again changes the browser's token, and
        the form must stay usable afterwards.
        """
        if flow.identity_id is not None and self.signed_in_as(flow.identity_id):
            return self.csrf
        bound = [digest for digest in (flow.csrf, flow.follower) if digest is not None]
        known = (token for token in self.csrf_tokens if any(crypto.same(csrf_digest(token), each) for each in bound))
        return next(known, None)

    def signed_in_as(self, identity_id: UUID | None) -> bool:
        """Return whether the caller's session is of this identity."""
        return self.session is not None and self.session.identity.id == identity_id

    def within(self, store: str) -> "Caller":
        """Return the caller as a store knows them: with a session of another store they are not signed in here."""
        at_home = self.session is not None and self.session.at_home_in(store)
        former = self.session or self.former
        return replace(self, store=store, session=self.session if at_home else None, former=former)

    def speaking(self, *, default: str) -> "Caller":
        """Return the caller with the language of what is answered and mailed: the one that the visitor wishes, else
        that of the session, else the default."""
        known = self.session.known_locale if self.session is not None else None
        return replace(self, locale=self.wished_language or known or default)


def csrf_digest(token: bytes) -> bytes:
    """Return what is stored of a browser's anti-CSRF token."""
    return crypto.digest(token.hex())


@dataclass(frozen=True, slots=True)
class Submission:
    """The content of a submission. `broken` says why it could not be read, or None; `is_json` that it is JSON, which no
    form sends."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    csrf_token: str = ""
    broken: Refusal | None = None
    is_json: bool = False

    @property
    def method(self) -> str:
        chosen = self.fields.get("method")
        return chosen if isinstance(chosen, str) else ""

    def text(self, name: str) -> str | None:
        """Return a field; None where it is no text."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else None
