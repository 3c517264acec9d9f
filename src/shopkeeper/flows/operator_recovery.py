"""Recovery by an operator: a code or a link that is handed to the customer, for whom no mail arrives any more.

The flow is marked as an operator's: it is bound to no browser and to no address, so that it verifies none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.credentials.mailed_code import MailedCode
from shopkeeper.credentials.mailed_link import MailedLink
from shopkeeper.credentials.mailed_nodes import CODE, LINK
from shopkeeper.credentials.steps import Form
from shopkeeper.errors import InvalidInput, NotFound
from shopkeeper.flows import store
from shopkeeper.flows.flow import OPERATOR, Flow, FlowState, FlowType
from shopkeeper.flows.mailed import MailedSettings, Recovery
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.store_handlers import AccountsElsewhere
from shopkeeper.identity.service import Identities
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Unit

LONGEST: Final = timedelta(days=30)
"""How long a code or a link of an operator counts at most."""
_NOBODY: Final = "There is no identity with this id."
_OFF: Final = "Recovery is switched off here: set selfservice.flows.recovery.enabled, and enable its method."


@dataclass(frozen=True, slots=True)
class Handing:
    """What an operator asks for.

    Args:
        store: the front that the customer is signed in to.
        expires_in: how long it counts; by default as long as the mailed ones.
        by: who asks, and `client` from where: for the audit trail.
    """

    identity_id: UUID
    store: str
    by: str
    client: Client
    expires_in: timedelta | None = None
    return_to: str | None = None


@dataclass(frozen=True, slots=True)
class Handed:
    """What the operator hands to the customer. `code` is None for a link, which has the secret in it."""

    link: str
    expires_at: datetime
    code: str | None = None


class OperatorRecovery:
    """Opens recovery flows for customers.

    Args:
        methods: those that are enabled for mails, by name.
        ui_url: the page where a code is typed.
        elsewhere: the stores whose customers have their accounts at a provider, where nothing is recovered.
        base_url: what links begin with.
        lifespans: how long a code and a link count, by method.
    """

    def __init__(
        self,
        *,
        settings: MailedSettings,
        methods: Mapping[str, MailedCode | MailedLink],
        lifespans: Mapping[str, timedelta],
        identities: Identities,
        audit: Audit,
        clock: Clock,
        return_addresses: ReturnAddresses,
        ui_url: str,
        base_url: str,
        elsewhere: AccountsElsewhere,
    ) -> None:
        self._settings = settings
        self._methods = methods
        self._lifespans = lifespans
        self._identities = identities
        self._audit = audit
        self._clock = clock
        self._return = return_addresses
        self._ui_url = ui_url
        self._elsewhere = elsewhere
        self._base_url = base_url.rstrip("/")

    async def code(self, unit: Unit, asked: Handing, *, type: FlowType = FlowType.BROWSER) -> Handed:  # noqa: A002
        """Open a flow that waits for a code. Raises `NotFound` for an unknown identity and where codes are off."""
        method = self._methods.get(CODE)
        if not isinstance(method, MailedCode) or not self._settings.enabled:
            raise NotFound(_OFF)
        try:
            await self._identities.require(unit, asked.identity_id)
        except NotFound as gone:
            raise NotFound(_NOBODY) from gone
        flow = self._flow(asked, method=CODE, type=type)
        code, form = method.hand_out(asked.identity_id, until=flow.expires_at)
        await self._add(unit, flow, asked, form)
        return Handed(f"{self._ui_url}?flow={flow.id}", flow.expires_at, code)

    async def link(self, unit: Unit, asked: Handing) -> Handed:
        """Open a flow that a link continues. Raises `NotFound` where links are off, and `InvalidInput` for an unknown
        identity, as in the contract (link/by_link)."""
        method = self._methods.get(LINK)
        if not isinstance(method, MailedLink) or not self._settings.enabled:
            raise NotFound(_OFF)
        try:
            await self._identities.require(unit, asked.identity_id)
        except NotFound as gone:
            raise InvalidInput(_NOBODY) from gone
        flow = self._flow(asked, method=LINK, type=FlowType.BROWSER)
        token, form = method.hand_out(asked.identity_id, until=flow.expires_at)
        await self._add(unit, flow, asked, form)
        query = urlencode({"flow": str(flow.id), "token": token})
        return Handed(f"{self._base_url}/self-service/recovery?{query}", flow.expires_at)

    def _flow(self, asked: Handing, *, method: str, type: FlowType) -> Flow:  # noqa: A002
        self._elsewhere.require_own(asked.store)
        lifespan = asked.expires_in if asked.expires_in is not None else self._lifespans[method]
        if not timedelta() < lifespan <= LONGEST:
            raise InvalidInput("'expires_in' must be longer than 0s and at most 30d.")
        now, return_to = self._clock.now(), self._return.check(asked.return_to)
        query = f"?{urlencode({'return_to': return_to})}" if return_to else ""
        return Flow(
            id=crypto.new_id(),
            kind=Recovery.name,
            store=asked.store,
            type=type,
            request_url=f"{self._base_url}/self-service/recovery/{type.value}{query}",
            return_to=return_to,
            issued_at=now,
            expires_at=now + lifespan,
            created_at=now,
            updated_at=now,
            state=FlowState.SENT_EMAIL,
            active=method,
            context={OPERATOR: {"by": asked.by}},
        )

    async def _add(self, unit: Unit, flow: Flow, asked: Handing, form: Form) -> None:
        method = flow.active or ""
        await store.add(unit, replace(flow.remembering(method, form.context), nodes=tuple(form.nodes)))
        await self._audit.record(
            unit,
            "recovery.handed_out",
            outcome="success",
            actor=asked.by,
            subject=str(asked.identity_id),
            client_ip=asked.client.ip,
            details={"method": method, "flow": str(flow.id)},
        )
