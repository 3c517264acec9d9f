"""Scenarios with `ory_kratos_client`, the client that Ory publishes for Python: an app's customer, and an operator.

Each takes the addresses of the two ports, so that it runs against a server as well as through a recorder.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx2
import ory_kratos_client as kratos
import pytest
from ory_kratos_client.exceptions import ApiException

PASSWORD = "Plum-Tart-93-window"
NOBODY = "6f1c1d0e-0000-4000-8000-000000000000"
NEW_COOKIE = re.compile(r"(?:^|, )([\w-]+)=([^;,]*);")


class Client(kratos.ApiClient):
    """The published client, which shows the last of several headers of one name: all cookies are in that one."""

    def call_api(self, *told: Any, **named: Any) -> Any:
        answer = super().call_api(*told, **named)
        lines = answer.response.headers.getlist("set-cookie")
        if lines:
            answer.response.headers["set-cookie"] = ", ".join(lines)
        return answer


@contextmanager
def client(url: str) -> Iterator[kratos.ApiClient]:
    """Open the published client for one port; its connections end with the block."""
    made = Client(kratos.Configuration(host=url))
    try:
        yield made
    finally:
        made.rest_client.pool_manager.clear()


@contextmanager
def refused(status: int) -> Iterator[None]:
    """Expect the call to be refused with this status."""
    with pytest.raises(ApiException) as refusal:
        yield
    assert refusal.value.status == status


def new_address() -> str:
    return f"ada-{uuid4().hex[:12]}@example.org"


# -- the customer of an app --------------------------------------------------------------------------------------------


def register(app: kratos.FrontendApi, address: str) -> kratos.SuccessfulNativeRegistration:
    flow = app.create_native_registration_flow()
    assert app.get_registration_flow(id=flow.id).id == flow.id
    body = kratos.UpdateRegistrationFlowWithPasswordMethod(
        method="password", password=PASSWORD, traits={"email": address, "name": {"first": "Ada", "last": "Pear"}}
    )
    return app.update_registration_flow(
        flow=flow.id, update_registration_flow_body=kratos.UpdateRegistrationFlowBody(body)
    )


def sign_in(app: kratos.FrontendApi, address: str, password: str = PASSWORD) -> kratos.SuccessfulNativeLogin:
    flow = app.create_native_login_flow()
    assert app.get_login_flow(id=flow.id).id == flow.id
    body = kratos.UpdateLoginFlowWithPasswordMethod(method="password", identifier=address, password=password)
    return app.update_login_flow(flow=flow.id, update_login_flow_body=kratos.UpdateLoginFlowBody(body))


def tell_of_a_customer(public: str) -> None:
    """Register, sign in on further devices, ask whoami, list and revoke sessions, sign out."""
    address = new_address()
    with client(public) as api:
        app = kratos.FrontendApi(api)
        registered = register(app, address)
        first = registered.session_token
        assert first
        assert registered.identity.traits == {"email": address, "name": {"first": "Ada", "last": "Pear"}}
        assert app.to_session(x_session_token=first).identity.id == registered.identity.id

        with refused(400):
            sign_in(app, address, "wrong-password")
        phone, tablet = sign_in(app, address.upper()), sign_in(app, address)
        assert phone.session.identity.id == registered.identity.id
        assert phone.session.authenticator_assurance_level == kratos.AuthenticatorAssuranceLevel.AAL1
        with refused(400):
            app.create_native_login_flow(x_session_token=phone.session_token)
        assert app.create_native_login_flow(refresh=True, x_session_token=phone.session_token).refresh

        others = {session.id for session in app.list_my_sessions(x_session_token=first)}
        assert others == {phone.session.id, tablet.session.id}
        app.disable_my_session(id=phone.session.id, x_session_token=first)
        with refused(401):
            app.to_session(x_session_token=phone.session_token)
        assert app.to_session(x_session_token=tablet.session_token).id == tablet.session.id

        _tell_of_settings(app, first, address)

        # Kratos' count includes the session that has already ended.
        assert app.disable_my_other_sessions(x_session_token=first).count == 2
        with refused(401):
            app.to_session(x_session_token=tablet.session_token)
        assert app.list_my_sessions(x_session_token=first) == []

        app.perform_native_logout(kratos.PerformNativeLogoutBody(session_token=first))
        with refused(401):
            app.to_session(x_session_token=first)


def _tell_of_settings(app: kratos.FrontendApi, token: str, address: str) -> None:
    """Change the name, which leaves the flow open, and fail to set the password that is there already."""
    flow = app.create_native_settings_flow(x_session_token=token)
    assert app.get_settings_flow(id=flow.id, x_session_token=token).id == flow.id
    renamed = kratos.UpdateSettingsFlowWithProfileMethod(
        method="profile", traits={"email": address, "name": {"first": "Eve", "last": "Fig"}}
    )
    changed = app.update_settings_flow(
        flow=flow.id, x_session_token=token, update_settings_flow_body=kratos.UpdateSettingsFlowBody(renamed)
    )
    assert (changed.state, changed.identity.traits["name"]["first"]) == ("success", "Eve")
    same = kratos.UpdateSettingsFlowWithPasswordMethod(method="password", password=PASSWORD)
    with refused(400):
        app.update_settings_flow(
            flow=flow.id, x_session_token=token, update_settings_flow_body=kratos.UpdateSettingsFlowBody(same)
        )


# -- the customer in a browser -----------------------------------------------------------------------------------------


class Browser:
    """A backend that passes a browser's cookies on: it keeps them, and sends them with every call."""

    def __init__(self) -> None:
        self._cookies: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())

    def take(self, answer: kratos.ApiResponse[Any]) -> Any:
        """Return the answer's data, and keep its cookies."""
        self.take_cookies((answer.headers or {}).get("set-cookie", ""))
        return answer.data

    def take_cookies(self, lines: str) -> None:
        """Keep the cookies of an answer, whose lines the client has joined."""
        self._cookies.update(NEW_COOKIE.findall(lines))

    def open(self, link: str) -> str:
        """Open a mailed link, keep the cookies, and return where it leads to."""
        with httpx2.Client() as visitor:
            answer = visitor.get(link, headers={"Accept": "text/html", "Cookie": self.cookie})
        assert answer.status_code == 303, answer.text
        self.take_cookies(", ".join(answer.headers.get_list("set-cookie")))
        return str(answer.headers["location"])


def csrf_token(flow: Any) -> str:
    [token] = [
        node.attributes.actual_instance.value
        for node in flow.ui.nodes
        if getattr(node.attributes.actual_instance, "name", "") == "csrf_token"
    ]
    return str(token)


def tell_of_a_browser(public: str) -> None:
    """Complete flows with cookies as a browser, open an error page, and sign out by link."""
    address, browser = new_address(), Browser()
    with client(public) as api:
        app = kratos.FrontendApi(api)
        flow = browser.take(app.create_browser_registration_flow_with_http_info())
        assert app.get_registration_flow(id=flow.id, cookie=browser.cookie).id == flow.id
        registering = kratos.UpdateRegistrationFlowWithPasswordMethod(
            method="password", password=PASSWORD, csrf_token=csrf_token(flow), traits={"email": address}
        )
        with refused(403):
            app.get_registration_flow(id=flow.id)
        with refused(403):
            app.update_registration_flow(
                flow=flow.id, update_registration_flow_body=kratos.UpdateRegistrationFlowBody(registering)
            )
        browser.take(
            app.update_registration_flow_with_http_info(
                flow=flow.id,
                update_registration_flow_body=kratos.UpdateRegistrationFlowBody(registering),
                cookie=browser.cookie,
            )
        )
        assert app.to_session(cookie=browser.cookie).identity.traits == {"email": address}

        leaving = app.create_browser_logout_flow(cookie=browser.cookie)
        app.update_logout_flow(token=leaving.logout_token, cookie=browser.cookie)
        with refused(401):
            app.to_session(cookie=browser.cookie)

        flow = browser.take(app.create_browser_login_flow_with_http_info(cookie=browser.cookie))
        signing_in = kratos.UpdateLoginFlowWithPasswordMethod(
            method="password", identifier=address, password=PASSWORD, csrf_token=csrf_token(flow)
        )
        done = app.update_login_flow_with_http_info(
            flow=flow.id, update_login_flow_body=kratos.UpdateLoginFlowBody(signing_in), cookie=browser.cookie
        )
        browser.take(done)
        with refused(410):
            app.update_login_flow(
                flow=flow.id, update_login_flow_body=kratos.UpdateLoginFlowBody(signing_in), cookie=browser.cookie
            )
        assert app.to_session(cookie=browser.cookie).identity.traits == {"email": address}
        with refused(401):
            app.create_browser_logout_flow()

        assert app.get_flow_error(id="stub:500").error["code"] == 500
        with refused(404):
            app.get_flow_error(id=NOBODY)


# -- the operator ------------------------------------------------------------------------------------------------------


def tell_of_an_operator(public: str, admin: str) -> None:
    """Create, read, list, change and delete an identity, its credential and its sessions."""
    with client(admin) as operator, client(public) as api:
        identities, app = kratos.IdentityApi(operator), kratos.FrontendApi(api)
        address = new_address()
        made = identities.create_identity(_identity(address))
        assert made.traits == {"email": address}
        with refused(409):
            identities.create_identity(_identity(address))
        _tell_of_reading(identities, made, address)
        _tell_of_changing(identities, made.id, address)
        _tell_of_sessions(identities, app, made.id, address)
        _tell_of_mails(kratos.CourierApi(operator), app)
        identities.delete_identity_credentials(id=made.id, type="password")
        with refused(404):
            identities.delete_identity_credentials(id=made.id, type="totp")
        identities.delete_identity(id=made.id)
        with refused(404):
            identities.get_identity(id=made.id)


def tell_of_handing_out(admin: str) -> None:
    """Hand out a link that recovers an account. The method `link` must be switched on."""
    with client(admin) as operator:
        identities = kratos.IdentityApi(operator)
        made = identities.create_identity(_identity(new_address()))
        body = kratos.CreateRecoveryLinkForIdentityBody(identity_id=made.id)
        given = identities.create_recovery_link_for_identity(create_recovery_link_for_identity_body=body)
        assert "/self-service/recovery?flow=" in given.recovery_link
        with refused(400):
            identities.create_recovery_link_for_identity(
                create_recovery_link_for_identity_body=kratos.CreateRecoveryLinkForIdentityBody(identity_id=NOBODY)
            )


def _tell_of_mails(courier: kratos.CourierApi, app: kratos.FrontendApi) -> None:
    """Find the mail that welcomes a customer."""
    register(app, new_address())
    listed = courier.list_courier_messages()
    assert courier.get_courier_message(id=listed[0].id).recipient == listed[0].recipient
    with refused(404):
        courier.get_courier_message(id=NOBODY)


def _identity(address: str) -> kratos.CreateIdentityBody:
    secret = kratos.IdentityWithCredentialsPasswordConfig(password=PASSWORD)
    return kratos.CreateIdentityBody(
        schema_id="default",
        traits={"email": address},
        metadata_public={"tier": "gold"},
        metadata_admin={"note": 1},
        external_id=f"crm-{address}",
        credentials=kratos.IdentityWithCredentials(password=kratos.IdentityWithCredentialsPassword(config=secret)),
    )


def _tell_of_reading(identities: kratos.IdentityApi, made: kratos.Identity, address: str) -> None:
    read = identities.get_identity(id=made.id, include_credential=["password"])
    assert read.credentials["password"].identifiers == [address]
    assert "hashed_password" in read.credentials["password"].config
    assert read.metadata_admin == {"note": 1}
    assert identities.get_identity_by_external_id(external_id=f"crm-{address}").id == made.id
    assert [found.id for found in identities.list_identities(credentials_identifier=address)] == [made.id]
    similar = identities.list_identities(preview_credentials_identifier_similar=address[:-4].upper())
    assert [found.id for found in similar] == [made.id]
    assert [found.id for found in identities.list_identities(ids=[made.id])] == [made.id]
    assert len(identities.list_identities(page_size=1)) == 1
    with refused(404):
        identities.get_identity(id=NOBODY)
    [schema] = [schema for schema in identities.list_identity_schemas() if schema.id == "default"]
    assert identities.get_identity_schema(id="default") == schema.var_schema


def _tell_of_changing(identities: kratos.IdentityApi, identity_id: str, address: str) -> None:
    named = {"email": address, "name": {"first": "Ida"}}
    replaced = identities.update_identity(
        id=identity_id,
        update_identity_body=kratos.UpdateIdentityBody(schema_id="default", state="active", traits=named),
    )
    assert replaced.traits == named
    changed = identities.patch_identity(
        id=identity_id, json_patch=[kratos.JsonPatch(op="replace", path="/traits/name/first", value="Iris")]
    )
    assert changed.traits["name"] == {"first": "Iris"}
    with refused(400):
        identities.patch_identity(id=identity_id, json_patch=[kratos.JsonPatch(op="replace", path="/id", value="x")])
    twice = kratos.CreateIdentityBody(schema_id="default", traits={"email": new_address()})
    batch = identities.batch_patch_identities(
        patch_identities_body=kratos.PatchIdentitiesBody(
            identities=[kratos.IdentityPatch(create=twice), kratos.IdentityPatch(create=twice)]
        )
    )
    assert [entry.action for entry in batch.identities] == ["create", "error"]


def _tell_of_sessions(identities: kratos.IdentityApi, app: kratos.FrontendApi, identity_id: str, address: str) -> None:
    first, second = sign_in(app, address), sign_in(app, address)
    listed = {session.id for session in identities.list_identity_sessions(id=identity_id, active=True)}
    assert listed == {first.session.id, second.session.id}
    assert {session.id for session in identities.list_sessions(active=True, page_size=1000)} >= listed
    shown = identities.get_session(id=first.session.id, expand=["identity", "devices"])
    assert shown.identity.id == identity_id
    assert shown.devices
    assert identities.get_session(id=first.session.id).identity is None

    extended = identities.extend_session(id=first.session.id)
    assert extended.expires_at >= first.session.expires_at
    identities.disable_session(id=first.session.id)
    with refused(401):
        app.to_session(x_session_token=first.session_token)
    assert app.to_session(x_session_token=second.session_token).id == second.session.id
    identities.delete_identity_sessions(id=identity_id)
    with refused(401):
        app.to_session(x_session_token=second.session_token)
    with refused(404):
        identities.extend_session(id=NOBODY)


def tell_of_probes(public: str, admin: str) -> None:
    """Call the probes and the version."""
    with client(public) as api:
        assert kratos.MetadataApi(api).is_alive().status == "ok"
        assert kratos.MetadataApi(api).is_ready().status == "ok"
        assert kratos.IdentityApi(api).list_identity_schemas()[0].id == "default"
    with client(admin) as operator:
        assert kratos.MetadataApi(operator).get_version().version
