"""The authorization request, which the browser takes to the provider, and the answer that it brings back.

RFC 6749 section 4.1, OpenID Connect Core 1.0 section 3.1.2, RFC 7636 (PKCE), RFC 9207 (issuer of the answer).
"""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlencode

from shopkeeper.openid.errors import AuthorizationRefused, ProviderAnswerInvalid
from shopkeeper.openid.metadata import Metadata
from shopkeeper.openid.provider import Provider

LONGEST_CODE: Final = 4096
LONGEST_DESCRIPTION: Final = 200
_ERROR_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_S256: Final = "S256"


def authorization_request(
    provider: Provider,
    metadata: Metadata,
    *,
    redirect_uri: str,
    state: str,
    nonce: str,
    code_verifier: str | None,
    parameters: Mapping[str, str],
) -> str:
    """Return the address of the request. Raises `ProviderAnswerInvalid` where the provider has no such endpoint."""
    if metadata.authorization_endpoint is None:
        raise ProviderAnswerInvalid("The provider names no authorization endpoint.", cause="no_endpoint")
    needed = {
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "state": state,
    }
    if provider.scope:
        needed["scope"] = " ".join(provider.scope)
    if provider.has_id_token and provider.sends_nonce:
        needed["nonce"] = nonce
    if code_verifier is not None:
        needed |= {"code_challenge": code_challenge(code_verifier), "code_challenge_method": _S256}
    if provider.requested_claims:
        needed["claims"] = json.dumps(provider.requested_claims, separators=(",", ":"))
    # What the protocol needs comes last, because it must not be replaced by what a request adds.
    return with_query(metadata.authorization_endpoint, {**parameters, **provider.authorization_parameters, **needed})


def uses_pkce(provider: Provider, metadata: Metadata) -> bool:
    """Return whether a code is bound to a verifier: always, never, or where the metadata offers S256."""
    if provider.pkce == "auto":
        return _S256 in (metadata.code_challenge_methods_supported or ())
    return provider.pkce == "force"


def code_challenge(verifier: str) -> str:
    """Return the challenge of a verifier (RFC 7636 section 4.2).

    >>> code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def redeemable_code(
    query: Mapping[str, str], provider: Provider, metadata: Metadata, *, others: Collection[Provider] = ()
) -> str:
    """Return the code of an authorization answer. `others` are the other configured providers.

    Raises:
        ProviderAnswerInvalid: it is the answer of another provider (a mix-up attack, RFC 9207 section 2.4), or has no
            readable code.
        AuthorizationRefused: it is an error.
    """
    _require_issuer(query.get("iss"), provider, metadata, others)
    if "error" in query:
        raise refused(query["error"], query.get("error_description"))
    code = query.get("code", "")
    if not 1 <= len(code) <= LONGEST_CODE or not code.isprintable():
        raise ProviderAnswerInvalid("The provider's answer has no code.", cause="no_code")
    return code


def _require_issuer(issuer: str | None, provider: Provider, metadata: Metadata, others: Collection[Provider]) -> None:
    """Refuse the answer of another provider (RFC 9207 section 2.4).

    Where no metadata are read, the issuer is only a name of ours, and the provider may call itself by another one any
    day. Then only the name of another configured provider is refused. The address that the answer came to, which is
    each provider's own, tells them apart in any case (RFC 9700 section 4.4.2.2).
    """
    if issuer is None:
        if metadata.authorization_response_iss_parameter_supported:
            raise ProviderAnswerInvalid("The provider's answer does not say who gave it.", cause="no_iss")
        return
    if provider.is_known_as(issuer):
        return
    if provider.discovers or any(other.is_known_as(issuer) for other in others):
        raise ProviderAnswerInvalid("The answer came from another provider.", cause="mix_up")


def refused(error: object, description: object) -> AuthorizationRefused:
    """Return the refusal that an error answer means, its texts cleaned and shortened."""
    code = error if isinstance(error, str) and _ERROR_CODE.fullmatch(error) else "unreadable_error"
    return AuthorizationRefused(code, cleaned(description) if isinstance(description, str) else None)


def cleaned(text: str) -> str:
    """Return a text of another server for a log: one line, shortened.

    >>> cleaned("The user\\n\\x1b[31mdenied")
    'The user [31mdenied'
    """
    printable = "".join(each if each.isprintable() else " " for each in text[: 4 * LONGEST_DESCRIPTION])
    return " ".join(printable.split())[:LONGEST_DESCRIPTION]


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """Return an address with further parameters in its query.

    >>> with_query("https://idp.example/auth?realm=shop", {"state": "x y"})
    'https://idp.example/auth?realm=shop&state=x+y'
    """
    if not parameters:
        return url
    separator = "?" if "?" not in url else "" if url.endswith(("?", "&")) else "&"
    return f"{url}{separator}{urlencode(parameters)}"
