"""A submission that waits for a new sign-in: kept sealed in its flow, and done once its owner has signed in again.

Kratos calls this continuity. It may hold a new password, so nobody reads it in the database; a cookie binds it to the
browser, the flow to the account, and it ends after `PAUSED_FOR`.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, Unsealable
from shopkeeper.flows import store
from shopkeeper.flows.flow import Caller, Flow, Submission
from shopkeeper.storage.database import Database

PURPOSE: Final = "paused submissions"
"""The purpose of the key ring, for key derivation."""
PAUSED_FOR: Final = timedelta(minutes=15)
LARGEST: Final = 20_000
"""Bytes of a submission that is kept; a larger one has to be sent again."""
_KEY: Final = "_paused"


class PausedSubmissions:
    """Keeps and takes paused submissions.

    Args:
        keys: the first one seals, all of them open.
    """

    def __init__(self, database: Database, *, keys: KeyRing, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    async def pause(self, flow: Flow, submission: Submission) -> str | None:
        """Keep a submission in place of an earlier one; return the value of the browser's cookie, or None where it was
        not kept."""
        fields = {name: value for name, value in submission.fields.items() if name != "csrf_token"}
        plain = json.dumps(fields).encode()
        if len(plain) > LARGEST:
            return None
        token = crypto.new_token("")
        paused = {
            "sealed": self._keys.seal_text(plain, context=_bound_to(flow)),
            "token": crypto.digest(token).hex(),
            "at": self._clock.now().isoformat(),
        }
        async with self._database.unit() as unit:
            kept = await unit.write(*store.keeping(flow.remembering(_KEY, paused)))
        return token if kept.rowcount == 1 else None

    def waits(self, flow: Flow, caller: Caller) -> bool:
        """Return whether a submission of this browser waits in the flow, and its owner has signed in again since."""
        paused, session = flow.remembered(_KEY), caller.session
        if not paused or session is None or not caller.signed_in_as(flow.identity_id):
            return False
        since = datetime.fromisoformat(paused["at"])
        in_time = self._clock.now() < since + PAUSED_FOR
        return in_time and session.authenticated_at >= since and _is_among(paused["token"], caller.continuity_cookies)

    async def take(self, flow: Flow) -> tuple[Flow, Submission] | None:
        """Take the submission out of the flow; only one of several callers gets it."""
        without = flow.remembering(_KEY, {})
        async with self._database.unit() as unit:
            taken = await unit.write(*store.keeping(without))
        if taken.rowcount != 1:
            return None
        try:
            plain = self._keys.open_text(flow.remembered(_KEY)["sealed"], context=_bound_to(flow))
        except Unsealable:  # sealed with a secret that is gone
            return None
        return replace(without, version=flow.version + 1), Submission(fields=json.loads(plain))


def _bound_to(flow: Flow) -> bytes:
    return flow.id.bytes + (flow.identity_id.bytes if flow.identity_id else b"")


def _is_among(digest: str, tokens: Iterable[str]) -> bool:
    return any(crypto.same(crypto.digest(token).hex(), digest) for token in tokens)
