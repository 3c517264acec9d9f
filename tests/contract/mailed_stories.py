"""Scenarios of recovery, verification and settings with `ory_kratos_client`, the client that Ory publishes for Python.

Each takes the addresses of the two ports, and what the mails hold: "code" or "link".
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import ory_kratos_client as kratos
import pytest
from ory_kratos_client.exceptions import ApiException

from tests.contract.stories import Browser, client, csrf_token, new_address, refused, register, sign_in
from tests.services.server import wait_until

NEXT_PASSWORD = "Quince-Pie-39-shelf"
CODE = re.compile(r"\b\d{6}\b")
LINK = re.compile(r"https?://\S+token=[\w.-]+")
LINK_OF_A_CODE = re.compile(r"https?://\S+code=\d{6}\S*")
SENT = "sent_email"


@dataclass
class Shop:
    """What a scenario calls: the app's API, the operator's, and what mails hold."""

    app: kratos.FrontendApi
    identities: kratos.IdentityApi
    courier: kratos.CourierApi
    by: str

    def mail(self, recipient: str, template: str, *, count: int = 1, holding: str = "") -> str:
        """Return the newest mail of a type to an address, when so many have come that hold a text."""
        found: list[kratos.Message] = []

        def came() -> bool:
            mails = self.courier.list_courier_messages(recipient=recipient)
            found[:] = [mail for mail in mails if mail.template_type == template and holding in mail.body]
            return len(found) >= count

        wait_until(came, f"{template} for {recipient}")
        return str(found[0].body)


@contextmanager
def shopping(public: str, admin: str, by: str) -> Iterator[Shop]:
    with client(public) as api, client(admin) as operator:
        yield Shop(kratos.FrontendApi(api), kratos.IdentityApi(operator), kratos.CourierApi(operator), by)


@contextmanager
def sent_elsewhere() -> Iterator[dict[str, str]]:
    """Expect 422 `browser_location_change_required`; the flow's id, and the cookies that came, are there afterwards."""
    seen: dict[str, str] = {}
    with pytest.raises(ApiException) as refusal:
        yield seen
    said = json.loads(refusal.value.body)
    assert (refusal.value.status, said["error"]["id"]) == (422, "browser_location_change_required")
    seen["flow"] = flow_in(said["redirect_browser_to"])
    seen["cookies"] = refusal.value.headers.get("set-cookie", "")


def flow_in(address: str) -> str:
    [flow] = parse_qs(urlsplit(address).query)["flow"]
    return flow


# -- recovery ----------------------------------------------------------------------------------------------------------


def recovery_body(by: str, **told: Any) -> kratos.UpdateRecoveryFlowBody:
    kind = kratos.UpdateRecoveryFlowWithLinkMethod if by == "link" else kratos.UpdateRecoveryFlowWithCodeMethod
    return kratos.UpdateRecoveryFlowBody(kind(method=by, **told))


def tell_of_a_recovery(public: str, admin: str, by: str) -> None:
    """Forget the password in a browser: nothing without the browser's token, a wrong secret, the right one, once."""
    with shopping(public, admin, by) as shop:
        address, browser = new_address(), Browser()
        register(shop.app, address)
        flow = browser.take(shop.app.create_browser_recovery_flow_with_http_info())
        submit = partial(shop.app.update_recovery_flow, flow=flow.id, cookie=browser.cookie)
        assert shop.app.get_recovery_flow(id=flow.id, cookie=browser.cookie).id == flow.id
        token = csrf_token(flow)
        with refused(400):
            submit(update_recovery_flow_body=recovery_body(by, email="", csrf_token=token))
        asked = submit(update_recovery_flow_body=recovery_body(by, email=address, csrf_token=token))
        assert asked.state == SENT
        settings = _follow(shop, browser, address, submit, token)
        _choose_password(shop, browser, settings)
        assert sign_in(shop.app, address, NEXT_PASSWORD).session.identity.traits["email"] == address
        with refused(400):
            sign_in(shop.app, address)


def _follow(shop: Shop, browser: Browser, address: str, submit: Callable[..., Any], token: str) -> str:
    """Use what the mail holds, which works once; return the id of the settings flow that it leads to."""
    if shop.by == "link":
        [link] = LINK.findall(shop.mail(address, "recovery_valid"))
        settings = flow_in(browser.open(link))
        # The used link leads to a new recovery, in whatever browser it is opened.
        assert flow_in(Browser().open(link)) != settings
        return settings
    [code] = CODE.findall(shop.mail(address, "recovery_code_valid"))
    wrong = submit(update_recovery_flow_body=recovery_body("code", code=_other(code), csrf_token=token))
    assert [message.id for message in wrong.ui.messages] == [4060006]
    with sent_elsewhere() as seen:
        submit(update_recovery_flow_body=recovery_body("code", code=code, csrf_token=token))
    browser.take_cookies(seen["cookies"])
    return seen["flow"]


def _other(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


def _choose_password(shop: Shop, browser: Browser, settings: str) -> None:
    flow = shop.app.get_settings_flow(id=settings, cookie=browser.cookie)
    chosen = kratos.UpdateSettingsFlowWithPasswordMethod(
        method="password", password=NEXT_PASSWORD, csrf_token=csrf_token(flow)
    )
    done = shop.app.update_settings_flow_with_http_info(
        flow=settings, cookie=browser.cookie, update_settings_flow_body=kratos.UpdateSettingsFlowBody(chosen)
    )
    assert browser.take(done).state == "success"
    assert shop.app.to_session(cookie=browser.cookie).active


def tell_of_a_native_recovery(public: str, admin: str, by: str) -> None:
    """Ask in an app: of a known address and an unknown one, with the same answer."""
    with shopping(public, admin, by) as shop:
        address = new_address()
        register(shop.app, address)
        flow = shop.app.create_native_recovery_flow()
        assert shop.app.get_recovery_flow(id=flow.id).state == "choose_method"
        submit = partial(shop.app.update_recovery_flow, flow=flow.id)
        with refused(400):
            submit(update_recovery_flow_body=recovery_body(by, email="no address"))
        for known in (address, new_address()):
            assert submit(update_recovery_flow_body=recovery_body(by, email=known)).state == SENT
        if by == "code":
            assert submit(update_recovery_flow_body=recovery_body(by, email=address)).state == SENT
            [code] = CODE.findall(shop.mail(address, "recovery_code_valid", count=2))
            # As in Kratos, the app itself is not signed in.
            with sent_elsewhere() as seen:
                submit(update_recovery_flow_body=recovery_body(by, code=code))
            assert not seen["cookies"]


def tell_of_operators_help(public: str, admin: str, by: str) -> None:
    """Hand out a code or a link, with which a customer recovers the account."""
    with shopping(public, admin, by) as shop:
        address, browser = new_address(), Browser()
        made = register(shop.app, address).identity.id
        if by == "link":
            body = kratos.CreateRecoveryLinkForIdentityBody(identity_id=made)
            given = shop.identities.create_recovery_link_for_identity(create_recovery_link_for_identity_body=body)
            settings = flow_in(browser.open(given.recovery_link))
        else:
            for_code = kratos.CreateRecoveryCodeForIdentityBody(identity_id=made, expires_in="1h")
            handed = shop.identities.create_recovery_code_for_identity(for_code)
            flow_id = flow_in(handed.recovery_link)
            flow = shop.app.get_recovery_flow(id=flow_id, cookie=browser.cookie)
            told = {"csrf_token": csrf_token(flow)} if has_csrf_token(flow) else {}
            with sent_elsewhere() as seen:
                shop.app.update_recovery_flow(
                    flow=flow_id, update_recovery_flow_body=recovery_body("code", code=handed.recovery_code, **told)
                )
            browser.take_cookies(seen["cookies"])
            settings = seen["flow"]
        _choose_password(shop, browser, settings)
        assert sign_in(shop.app, address, NEXT_PASSWORD).session.active


def has_csrf_token(flow: Any) -> bool:
    return any(getattr(node.attributes.actual_instance, "name", "") == "csrf_token" for node in flow.ui.nodes)


# -- verification ------------------------------------------------------------------------------------------------------


def verification_body(by: str, **told: Any) -> kratos.UpdateVerificationFlowBody:
    kind = kratos.UpdateVerificationFlowWithLinkMethod if by == "link" else kratos.UpdateVerificationFlowWithCodeMethod
    return kratos.UpdateVerificationFlowBody(kind(method=by, **told))


def tell_of_a_verification(public: str, admin: str, by: str) -> None:
    """Verify the address of a registration with the flow that it was shown, and another one by a flow of its own."""
    with shopping(public, admin, by) as shop:
        address, browser = new_address(), Browser()
        identity = register(shop.app, address).identity.id
        assert not _verified_for_operators(shop, identity)
        template = "verification_valid" if by == "link" else "verification_code_valid"
        shop.mail(address, template)
        flow = browser.take(shop.app.create_browser_verification_flow_with_http_info())
        submit = partial(shop.app.update_verification_flow, flow=flow.id, cookie=browser.cookie)
        assert shop.app.get_verification_flow(id=flow.id, cookie=browser.cookie).state == "choose_method"
        token = csrf_token(flow)
        with refused(403):
            submit(update_verification_flow_body=verification_body(by, email=address, csrf_token="of nobody"))
        asked = submit(update_verification_flow_body=verification_body(by, email=address, csrf_token=token))
        assert asked.state == SENT
        mail = shop.mail(address, template, count=2)
        if by == "link":
            [link] = LINK.findall(mail)
            Browser().open(link)
        else:
            [code] = set(CODE.findall(mail))
            wrong = verification_body(by, code=_other(code), csrf_token=token)
            assert [message.id for message in submit(update_verification_flow_body=wrong).ui.messages] == [4070006]
            right = verification_body(by, code=code, csrf_token=token)
            assert submit(update_verification_flow_body=right).state == "passed_challenge"
        assert _verified_for_operators(shop, identity)


def tell_of_a_native_verification(public: str, admin: str, by: str) -> None:
    """Verify in an app."""
    with shopping(public, admin, by) as shop:
        address = new_address()
        registered = register(shop.app, address)
        _verify(shop, address)
        assert _verified(shop, registered.session_token)


def _verify(shop: Shop, address: str) -> None:
    """Verify the address of a registration by a second mail, in an app."""
    template = "verification_valid" if shop.by == "link" else "verification_code_valid"
    shop.mail(address, template)
    flow = shop.app.create_native_verification_flow()
    submit = partial(shop.app.update_verification_flow, flow=flow.id)
    assert submit(update_verification_flow_body=verification_body(shop.by, email=address)).state == SENT
    mail = shop.mail(address, template, count=2)
    if shop.by == "link":
        Browser().open(LINK.findall(mail)[0])
    else:
        done = submit(update_verification_flow_body=verification_body(shop.by, code=CODE.findall(mail)[0]))
        assert done.state == "passed_challenge"


def _verified(shop: Shop, token: str) -> bool:
    [address] = shop.app.to_session(x_session_token=token).identity.verifiable_addresses
    return bool(address.verified)


def _verified_for_operators(shop: Shop, identity: str) -> bool:
    [address] = shop.identities.get_identity(identity).verifiable_addresses
    return bool(address.verified)


# -- settings ----------------------------------------------------------------------------------------------------------


def tell_of_the_account_page(public: str, admin: str, by: str) -> None:
    """Change name, password and address in a browser; the old address undoes the last."""
    with shopping(public, admin, by) as shop:
        address, other, browser = new_address(), new_address(), Browser()
        register(shop.app, address)
        _verify(shop, address)
        _sign_in_browser(shop, browser, address)
        shown = browser.take(shop.app.create_browser_settings_flow_with_http_info(cookie=browser.cookie))

        def change(kind: Callable[..., Any], **told: Any) -> kratos.SettingsFlow:
            nonlocal shown
            body = kratos.UpdateSettingsFlowBody(kind(csrf_token=csrf_token(shown), **told))
            done = shop.app.update_settings_flow_with_http_info(
                flow=shown.id, cookie=browser.cookie, update_settings_flow_body=body
            )
            shown = browser.take(done)
            return shown

        profile = partial(change, kratos.UpdateSettingsFlowWithProfileMethod, method="profile")
        password = partial(change, kratos.UpdateSettingsFlowWithPasswordMethod, method="password")
        named = profile(traits={"email": address, "name": {"first": "Ada"}})
        assert named.identity.traits["name"] == {"first": "Ada"}
        with refused(400):
            profile(traits={"email": "no address"})
        with refused(400):
            password(password="x")
        with refused(401):
            shop.app.get_settings_flow(id=shown.id)
        assert password(password=NEXT_PASSWORD).state == "success"
        assert sign_in(shop.app, address, NEXT_PASSWORD).session.active
        moved = profile(traits={"email": other})
        assert [one.value for one in moved.identity.verifiable_addresses] == [other]
        assert sign_in(shop.app, other, NEXT_PASSWORD).session.active
        with refused(400):
            sign_in(shop.app, address, NEXT_PASSWORD)
        _undo(shop, address)
        with refused(401):
            shop.app.to_session(cookie=browser.cookie)


def _undo(shop: Shop, former: str) -> None:
    # The client does not know the type of this mail.
    [link] = LINK.findall(shop.mail(former, "stub", holding="/undo-address?"))
    with httpx2.Client() as visitor:
        page = visitor.get(link)
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        done = visitor.post(link.partition("?")[0], data=fields, headers={"Sec-Fetch-Site": "same-origin"})
    assert done.status_code in {200, 303}, done.text


def _sign_in_browser(shop: Shop, browser: Browser, address: str) -> None:
    flow = browser.take(shop.app.create_browser_login_flow_with_http_info())
    body = kratos.UpdateLoginFlowWithPasswordMethod(
        method="password", identifier=address, password="Plum-Tart-93-window", csrf_token=csrf_token(flow)
    )
    done = shop.app.update_login_flow_with_http_info(
        flow=flow.id, update_login_flow_body=kratos.UpdateLoginFlowBody(body), cookie=browser.cookie
    )
    browser.take(done)
