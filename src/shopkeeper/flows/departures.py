"""Leaving for another server: the flow awaits the callback, and a cookie binds it to the browser that leaves.

Of two submissions at once, as by a double click, only one is stored, and the browser may follow the answer to either.
So both lead to the same place, where they are the same: what the first has left with is kept sealed in the flow.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from shopkeeper import crypto
from shopkeeper.credentials.steps import Redirect, SubmissionRejected
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.flows import store
from shopkeeper.flows.carried import carrying
from shopkeeper.flows.flow import Flow
from shopkeeper.flows.flow_writer import FlowWriter, Superseded
from shopkeeper.flows.handler import Turn
from shopkeeper.flows.outcomes import RedirectedAway
from shopkeeper.flows.token_exchange import exchanges, leaving
from shopkeeper.storage.database import Database

PURPOSE: Final = "departures"
"""The purpose of the key ring, for key derivation."""
_KEY: Final = "_departure"
_OF_ONE_SUBMISSION: Final = frozenset({"csrf_token"})
"""Fields that are masked anew for each form, and do not make it another submission."""


class Departure(msgspec.Struct, frozen=True):
    """What a browser has left with.

    Args:
        url: where it was sent.
        cookie: binds the flow to it; None where the codes of an app take its place.
        submission: the digest of what it had sent.
    """

    url: str
    cookie: str | None
    submission: bytes


class Departures:
    """Redirects browsers.

    Args:
        keys: seals departures.
    """

    def __init__(self, database: Database, *, writer: FlowWriter, keys: KeyRing) -> None:
        self._database = database
        self._writer = writer
        self._keys = keys

    async def leave(self, turn: Turn, step: Redirect) -> RedirectedAway:
        """Redirect the browser. Never call it while a transaction is open.

        Raises `Superseded` where another submission was stored meanwhile that did not leave by the same method, and
        `FlowInvalid` where the form has too much to be kept.
        """
        cookie = None
        if not exchanges(turn.flow):
            cookie = next(iter(turn.caller.callback_cookies), None) or crypto.new_token("")
        departure = Departure(step.url, cookie, _digest(turn.submission.fields))
        try:
            return await self._left(turn, step, departure)
        except Superseded:
            return await self._left_at_once(turn, step, departure)

    async def _left_at_once(self, turn: Turn, step: Redirect, departure: Departure) -> RedirectedAway:
        """Lead to where another submission has left for meanwhile, or away from there if that was another place; the
        browser has one cookie for both."""
        async with self._database.reading() as unit:
            current = await store.get(unit, turn.flow.id, kind=turn.flow.kind)
        first = self._of(current) if current is not None and current.callback_method == turn.method else None
        if current is None or first is None:
            raise Superseded
        if first.submission == departure.submission:
            return RedirectedAway(current, first.url, first.cookie)
        again = replace(turn, flow=replace(turn.flow, version=current.version))
        return await self._left(again, step, msgspec.structs.replace(departure, cookie=first.cookie))

    async def _left(self, turn: Turn, step: Redirect, departure: Departure) -> RedirectedAway:
        try:
            kept = carrying(turn.flow, turn.submission)
        except SubmissionRejected as too_large:
            raise await self._writer.rejected(turn, too_large) from too_large
        cookie = departure.cookie
        left = replace(
            leaving(kept.remembering(turn.method, step.context), turn.caller),
            callback_method=turn.method,
            callback_state=crypto.digest(turn.callback.state),
            callback_binding=crypto.digest(cookie) if cookie is not None else None,
        )
        async with self._database.unit() as unit:
            stored = await self._writer.store(unit, self._keeping(left, departure))
        return RedirectedAway(stored, departure.url, cookie)

    def _keeping(self, flow: Flow, departure: Departure) -> Flow:
        sealed = self._keys.seal_text(msgspec.json.encode(departure), context=flow.id.bytes)
        return flow.remembering(_KEY, {"sealed": sealed})

    def _of(self, flow: Flow) -> Departure | None:
        """Return the departure of a flow that awaits its callback; None where it cannot be opened."""
        sealed = flow.remembered(_KEY).get("sealed", "")
        try:
            return msgspec.json.decode(self._keys.open_text(sealed, context=flow.id.bytes), type=Departure)
        except (Unsealable, msgspec.MsgspecError):  # sealed with a secret that is gone
            return None


def _digest(fields: Mapping[str, Any]) -> bytes:
    sent = {name: value for name, value in fields.items() if name not in _OF_ONE_SUBMISSION}
    return crypto.digest(json.dumps(sent, sort_keys=True))
