"""The budget of a mailbox for mails that nobody has asked for by a form: they follow a sign-in or a change."""

from shopkeeper.errors import TooManyRequests
from shopkeeper.notify.addresses import mailbox_of
from shopkeeper.throttle import Throttle, network_of


class RecipientBudget:
    """Limits such mails; what they follow goes on without them.

    Args:
        per_client: the budget of a client's address, for each kind as many as mails that it asks for.
        per_recipient: the budget of a recipient; mails of the same kind that a form asks for share it.
        per_pair: the budget of a recipient for one client, so that no client alone can use up the recipient's.
    """

    def __init__(self, *, per_client: Throttle, per_recipient: Throttle, per_pair: Throttle) -> None:
        self._per_client = per_client
        self._per_recipient = per_recipient
        self._per_pair = per_pair

    async def may_mail(self, kind: str, address: str, *, ip: str) -> bool:
        """Count a mail of a kind to an address; return False where there were too many. No transaction may be open.

        Addresses with a tag share the budget of their mailbox.
        """
        mailbox, network = mailbox_of(address), network_of(ip)
        try:
            await self._per_client.spend(f"{kind} unasked {network}", for_effect=True)
            await self._per_pair.spend(f"{kind} unasked {network} {mailbox}", for_effect=True)
            await self._per_recipient.spend(f"{kind} {mailbox}", for_effect=True)
        except TooManyRequests:
            return False
        return True
