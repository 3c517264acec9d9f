"""Mails that tell the owner of an account what was changed in it, queued in the transaction of the change."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import structlog

from shopkeeper.notify.addresses import AddressRefused
from shopkeeper.notify.courier import Courier
from shopkeeper.storage.database import Unit

UNDO_PATH: Final = "/account/undo-address"

log = structlog.get_logger("shopkeeper.settings")


class AccountNotices:
    """Queues the notices.

    Args:
        base_url: our public address, where the links lead.
    """

    def __init__(self, courier: Courier, *, base_url: str) -> None:
        self._courier = courier
        self._base_url = base_url.rstrip("/")

    async def password_changed(self, unit: Unit, *, to: str | None, account: Mapping[str, Any], locale: str) -> None:
        """Tell that the password was changed. `account` is what a mail may say of it."""
        await self._queue(unit, "password_changed", to=to, context=account, locale=locale)

    async def sign_in_linked(
        self, unit: Unit, *, to: str | None, account: Mapping[str, Any], provider: str, locale: str
    ) -> None:
        """Tell that one can sign in with a provider from now on. `account` is what a mail may say of it."""
        await self._queue(unit, "sign_in_linked", to=to, context={**account, "provider": provider}, locale=locale)

    async def address_changed(
        self,
        unit: Unit,
        *,
        to: str,
        account: Mapping[str, Any],
        new_address: str,
        token: str | None,
        hours: int,
        locale: str,
    ) -> None:
        """Tell a former address that it was replaced, with a link that undoes that if there is a token. `account` is
        what a mail may say of it."""
        url = f"{self._base_url}{UNDO_PATH}?token={token}" if token else ""
        context = {**account, "new_address": new_address, "undo_url": url, "hours": hours}
        await self._queue(unit, "address_changed", to=to, context=context, locale=locale)

    async def support_access(
        self, unit: Unit, *, to: str | None, account: Mapping[str, Any], ends_at: datetime, locale: str
    ) -> None:
        """Tell that an agent of the shop acts in the account. `account` is what a mail may say of it."""
        context = {**account, "ends_at": ends_at.isoformat()}
        await self._queue(unit, "support_access", to=to, context=context, locale=locale)

    async def address_wanted(self, unit: Unit, *, to: str | None, account: Mapping[str, Any], locale: str) -> None:
        """Tell the owner of an address that another account was to get it. `account` is what a mail may say of the
        owner's."""
        await self._queue(unit, "address_wanted", to=to, context=account, locale=locale)

    async def _queue(
        self, unit: Unit, template: str, *, to: str | None, context: Mapping[str, Any], locale: str
    ) -> None:
        if not to:
            return
        try:
            await self._courier.queue(unit, template=template, recipient=to, context=context, locale=locale)
        except AddressRefused:  # an address that no mail can be sent to must not stop its owner
            log.warning("mail.address_refused", template=template)
