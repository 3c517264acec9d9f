"""Row 82: an address is verified by what the same source says of it, and by nothing else."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.attacks.scene import Scene, ask
from tests.services.openid_provider import OpenIDProvider
from tests.upstream.stages import API

OpenShop = Callable[..., Awaitable[Scene]]
VICTIM, MALLORY = "victim@example.org", "mallory@example.org"
BY_MALLORY = {"email": MALLORY, "email_verified": True}


async def verified_by(
    scene: Scene, provider: OpenIDProvider, *, token: Mapping[str, Any], userinfo: Mapping[str, Any]
) -> list[tuple[str, bool]]:
    """Return the addresses of the identity that is made of the claims of an access token and of userinfo."""
    body = json.dumps({"sub": "sub-mallory", **userinfo})
    provider.faults(me={"status": 200, "body": body, "type": "application/json"})
    signed = provider.sign({"aud": API, "client_id": "app", "sub": "sub-mallory", **token}, header={"typ": "at+jwt"})
    answer = await ask(await scene.native(), signed, "{ getCurrentCustomer { id } }")
    assert "errors" not in answer, answer
    return [(row["value"], bool(row["verified"])) for row in await scene.rows("verifiable_addresses")]


@pytest.mark.parametrize(
    ("token", "userinfo", "expected"),
    [
        ({"email": VICTIM}, BY_MALLORY, (VICTIM, False)),
        ({"email": VICTIM, "email_verified": False}, BY_MALLORY, (VICTIM, False)),
        ({"email": VICTIM, "email_verified": False}, {"email": VICTIM, "email_verified": True}, (VICTIM, False)),
        ({"email": VICTIM}, {"email_verified": True}, (VICTIM, False)),
        ({"email": VICTIM}, {"email": VICTIM.upper(), "email_verified": True}, (VICTIM, False)),
        ({"email_verified": True}, {"email": VICTIM}, (VICTIM, False)),
        ({"email": "", "email_verified": True}, {"email": VICTIM}, (VICTIM, False)),
        ({"email": None, "email_verified": True}, {"email": VICTIM}, (VICTIM, False)),
        ({}, BY_MALLORY, (MALLORY, True)),
        (BY_MALLORY, {"email": VICTIM}, (MALLORY, True)),
        ({"email": MALLORY}, BY_MALLORY, (MALLORY, True)),
    ],
)
async def test_row_082_an_address_is_not_verified_by_the_word_about_another(
    open_shop: OpenShop,
    openid_provider: OpenIDProvider,
    token: Mapping[str, Any],
    userinfo: Mapping[str, Any],
    expected: tuple[str, bool],
) -> None:
    scene = await open_shop(claims_from="userinfo")
    assert await verified_by(scene, openid_provider, token=token, userinfo=userinfo) == [expected]
