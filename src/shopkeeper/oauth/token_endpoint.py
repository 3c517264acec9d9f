"""The token endpoint (RFC 6749 section 3.2): what all grants share.

client authenticates -> grant known? -> may this client use it? -> the grant
"""

from collections.abc import Mapping, Sequence

import structlog

from shopkeeper.client import Client
from shopkeeper.oauth.client_authentication import ClientAuthentication
from shopkeeper.oauth.clients import OAuthClient
from shopkeeper.oauth.errors import UnauthorizedClient, UnsupportedGrantType
from shopkeeper.oauth.grants import Grant, GrantRequest, Issued
from shopkeeper.oauth.scopes import required

log = structlog.get_logger("shopkeeper.oauth")


class TokenEndpoint:
    """Issues tokens to clients.

    Args:
        clients: every configured client, by its id.
        grants: every way to obtain tokens.
    """

    def __init__(
        self, clients: Mapping[str, OAuthClient], *, authentication: ClientAuthentication, grants: Sequence[Grant]
    ) -> None:
        self._clients, self._authentication = dict(clients), authentication
        self._grants = {grant.grant_type: grant for grant in grants}

    async def issue(self, authorization: Sequence[str], parameters: Mapping[str, str], *, sender: Client) -> Issued:
        """Issue what a request asks for.

        Args:
            authorization: every `Authorization` header.
            parameters: those of the form, each once and none empty.

        Raises `OAuthRefused`, and `TooManyRequests`.
        """
        client_id = await self._authentication.authenticate(authorization, parameters, ip=sender.ip)
        client, grant_type = self._clients[client_id], required(parameters, "grant_type")
        grant = self._grants.get(grant_type)
        if grant is None:
            raise UnsupportedGrantType(f"There are the grants {', '.join(self._grants)}.")
        if grant_type not in client.grants:
            raise UnauthorizedClient("This client may not use this grant.")
        issued = await grant.issue(GrantRequest(client, parameters, sender))
        said = issued.said
        log.info("oauth.token_issued", client=client.id, grant=grant_type, audience=said.audience, token=str(said.id))
        return issued
