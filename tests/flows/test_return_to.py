"""Return addresses of apps: their own schemes, where the allow-list has them."""

import pytest

from shopkeeper.errors import ReturnToForbidden
from shopkeeper.flows.return_to import ReturnAddresses

ADDRESSES = ReturnAddresses(
    default="https://shop.test/account",
    allowed=["shop://signed-in", "com.example.shop:/back", "javascript://signed-in", "https://app.test"],
    base_url="https://shop.test/",
)


@pytest.mark.parametrize(
    "wanted",
    ["shop://signed-in", "shop://signed-in/home?a=b#c", "SHOP://Signed-In", "com.example.shop:/back/home", None],
)
def test_an_app_gets_its_own_address(wanted: str | None) -> None:
    found = ADDRESSES.check(wanted)
    assert (found or "").lower() == (wanted or "").lower()


@pytest.mark.parametrize(
    "wanted",
    [
        "shop://elsewhere",
        "shop://signed-in.evil.test",
        "shop://signed-in@evil.test",
        "shop:/signed-in",
        "shop:signed-in",
        "com.example.shop:/backwards",
        "com.example.shop:/back/../other",
        "com.example.shop.evil:/back",
        "com.example.shop://back",
        "other://signed-in",
        "javascript://signed-in",
        "javascript://signed-in/%0aalert(1)",
        "data://signed-in",
        "https://signed-in",
    ],
)
def test_no_other_app_and_no_script_is_led_to(wanted: str) -> None:
    with pytest.raises(ReturnToForbidden):
        ADDRESSES.check(wanted)
