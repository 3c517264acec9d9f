import pytest

from shopkeeper.notify.smtp_uri import SmtpAddress, parse_smtp_uri


def read(uri: str) -> SmtpAddress:
    return parse_smtp_uri(uri)


class TestSmtpUri:
    def test_a_plain_address_must_be_upgraded_to_tls(self) -> None:
        assert read("smtp://ana:pa%40ss%2F@mail.example:2525/") == SmtpAddress(
            host="mail.example",
            port=2525,
            implicit_tls=False,
            start_tls=True,
            verify=True,
            server_name=None,
            username="ana",
            password="pa@ss/",
        )

    def test_options_are_kratos_options(self) -> None:
        found = read("smtp://mail.example:1025/?skip_ssl_verify=true&disable_starttls=1&server_name=other.example")
        assert (found.start_tls, found.verify, found.server_name) == (False, False, "other.example")

    @pytest.mark.parametrize("value", ["true", "false", ""])
    def test_an_option_of_older_releases_changes_nothing(self, value: str) -> None:
        uri = "smtps://ana:pa%40ss@mail.example:465/"
        assert read(f"{uri}?legacy_ssl={value}&skip_ssl_verify=true") == read(f"{uri}?skip_ssl_verify=true")

    def test_smtps_speaks_tls_from_the_first_byte(self) -> None:
        found = read("smtps://mail.example:465/?disable_starttls=true")
        assert (found.implicit_tls, found.start_tls) == (True, False)

    @pytest.mark.parametrize(
        ("uri", "port"),
        [
            ("smtp://mail.example", 587),
            ("smtps://mail.example", 465),
            ("smtp://mail.example/?disable_starttls=true", 25),
            ("smtp://[::1]:1025", 1025),
        ],
    )
    def test_ports_have_their_usual_numbers(self, uri: str, port: int) -> None:
        assert read(uri).port == port

    @pytest.mark.parametrize(
        "uri",
        [
            "",
            "mail.example:25",
            "http://ana:secret@mail.example/",
            "smtp://ana:secret@/",
            "smtp://ana:secret@mail.example:port/",
            "smtp://ana:secret@mail.example:99999/",
            "smtp://ana:secret@mail.example/inbox",
            "smtp://ana:secret@[::1/",
            "smtp://ana:secret@mail.example/?skip_ssl_verify=perhaps",
            "smtp://ana:secret@mail.example/?disable_tls=true",
            "smtp://ana:secret@mail.example/#secret",
        ],
    )
    def test_what_cannot_be_read_is_refused_without_repeating_it(self, uri: str) -> None:
        with pytest.raises(ValueError, match="mail server's address") as refused:
            read(uri)
        assert "secret" not in str(refused.value)
        assert refused.value.__cause__ is None

    def test_a_password_is_not_shown(self) -> None:
        assert "secret" not in repr(read("smtp://ana:secret@mail.example/"))
