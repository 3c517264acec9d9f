import pytest

from shopkeeper.errors import InvalidInput
from shopkeeper.notify.addresses import AddressRefused, on_the_wire, require_address

# A comma, two @, quoted local parts and line breaks: each has delivered one user's link to another (row 67).
TWO_FACED = {
    "comma": "ana@shop.example,mallory@evil.example",
    "semicolon": "ana@shop.example;mallory@evil.example",
    "two-at": "ana@shop.example@evil.example",
    "comma-one-at": "ana,mallory@evil.example",
    "quoted-local": '"ana@shop.example"@evil.example',
    "quoted-space": '"ana mallory"@evil.example',
    "crlf": "ana@shop.example\r\nBcc: mallory@evil.example",
    "newline-at-the-end": "ana@shop.example\n",
    "nul": "ana@shop.example\x00",
    "display-name": "Ana <ana@shop.example>",
    "angle": "<ana@shop.example>",
    "comment": "ana(at home)@shop.example",
    "literal": "ana@[127.0.0.1]",
    "space": " ana@shop.example",
    "route": "@relay.example:ana@shop.example",
    "surrogate": "ana\ud800@shop.example",
    "no-at": "ana.shop.example",
    "empty": "",
    "long": "a" * 250 + "@shop.example",
}


class TestAddresses:
    @pytest.mark.parametrize("text", TWO_FACED.values(), ids=TWO_FACED.keys())
    def test_row_067_what_is_not_one_mailbox_is_refused(self, text: str) -> None:
        with pytest.raises(AddressRefused) as refused:
            require_address(text)
        assert isinstance(refused.value, InvalidInput)
        assert "evil" not in refused.value.sentence

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("ana@shop.example", "ana@shop.example"),
            ("Ana+shop@SHOP.Example", "Ana+shop@shop.example"),
            ("o'neill@shop.example", "o'neill@shop.example"),
            ("ana@münchen.example", "ana@münchen.example"),
            ("ana@mailserver", "ana@mailserver"),
            ("ana@shop.test", "ana@shop.test"),
        ],
    )
    def test_one_mailbox_is_taken(self, text: str, found: str) -> None:
        assert require_address(text) == found

    @pytest.mark.parametrize(
        ("address", "sent"),
        [
            ("ana@shop.example", "ana@shop.example"),
            ("ana@münchen.example", "ana@xn--mnchen-3ya.example"),
            ("анна@shop.example", "анна@shop.example"),
        ],
    )
    def test_servers_read_international_domains_in_ascii(self, address: str, sent: str) -> None:
        assert on_the_wire(address) == sent
