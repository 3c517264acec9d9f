"""Identities, sessions and flows as the JSON of Kratos' contract (contract page section 1.3).

Clients distinguish members that are null, absent and empty.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shopkeeper.commerce.port import CartMergeReport
from shopkeeper.flows.continue_with import ContinueWith, ShowRecovery, ShowSettings, ShowVerification
from shopkeeper.flows.flow import Flow, FlowState
from shopkeeper.identity.group_store import Group, Member
from shopkeeper.identity.values import Credential, Identity, RecoveryAddress, VerifiableAddress
from shopkeeper.languages.choice import SOURCE
from shopkeeper.sessions.values import Actor, AuthenticationMethod, Session
from shopkeeper.ui.nodes import csrf_node
from shopkeeper.ui.translated import messages_in, node_in

Wire = dict[str, Any]
ACTOR = "agent"
"""The type of who acts in a session as its identity."""


def moment(at: datetime) -> str:
    """Return a time in RFC 3339, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def schema_url(base_url: str, schema_id: str) -> str:
    """Return the address of an identity's schema; its id is in base64url."""
    return f"{base_url}/schemas/{base64.urlsafe_b64encode(schema_id.encode()).rstrip(b'=').decode()}"


_ACTIONS: Mapping[type[ContinueWith], tuple[str, str]] = {
    ShowVerification: ("show_verification_ui", "verification"),
    ShowSettings: ("show_settings_ui", "settings"),
    ShowRecovery: ("show_recovery_ui", "recovery"),
}


def ui_flow(action: ContinueWith) -> str:
    """Return the name of the flow that an action shows."""
    return _ACTIONS[type(action)][1]


def continue_with(action: ContinueWith, *, url: str | None) -> Wire:
    """Return an action of `continue_with` (contract page section 2.7); `url` is the page's address, for browsers."""
    address = {"verifiable_address": action.address} if isinstance(action, ShowVerification) else {}
    return {"action": _ACTIONS[type(action)][0], "flow": {"id": str(action.flow_id), **address, **_present(url=url)}}


def set_session_token(token: str) -> Wire:
    """Return the action with which a native app gets its session token."""
    return {"action": "set_ory_session_token", "ory_session_token": token}


class Serializers:
    """Renders values as JSON objects. `base_url` is the public address without a slash at its end."""

    def __init__(self, *, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")

    def identity(self, identity: Identity) -> Wire:
        """Return an identity as its owner sees it: without credentials and `metadata_admin`."""
        return {
            "id": str(identity.id),
            "schema_id": identity.schema_id,
            "schema_url": schema_url(self.base_url, identity.schema_id),
            "state": identity.state,
            "state_changed_at": moment(identity.state_changed_at),
            "traits": identity.traits,
            **_addresses("verifiable_addresses", [_verifiable(a) for a in identity.verifiable_addresses]),
            **_addresses("recovery_addresses", [_recovery(a) for a in identity.recovery_addresses]),
            "metadata_public": identity.metadata_public,
            **({"external_id": identity.external_id} if identity.external_id else {}),
            "created_at": moment(identity.created_at),
            "updated_at": moment(identity.updated_at),
            "organization_id": None,
        }

    def identity_for_admin(
        self, identity: Identity, *, configs: frozenset[str] = frozenset(), listed: bool = False
    ) -> Wire:
        """Return an identity as an admin sees it; `configs` names the credential types whose configuration is shown."""
        shown = listed or identity.metadata_admin is not None
        return {
            **self.identity(identity),
            "credentials": {
                type_: _credential(credential, with_config=type_ in configs)
                for type_, credential in identity.credentials.items()
            },
            **({"metadata_admin": identity.metadata_admin} if shown else {}),
            **({"groups": list(identity.groups)} if identity.groups else {}),
        }

    def group(self, group: Group) -> Wire:
        """Return a group, as an admin sees it."""
        return {
            "id": str(group.id),
            "name": group.name,
            "display_name": group.display_name,
            **_present(external_id=group.external_id),
            "version": group.version,
            "created_at": moment(group.created_at),
            "updated_at": moment(group.updated_at),
        }

    def member(self, member: Member) -> Wire:
        """Return a member of a group, with who made it one."""
        return {
            "identity_id": str(member.identity_id),
            "sources": list(member.sources),
            "created_at": moment(member.created_at),
        }

    def session(self, session: Session) -> Wire:
        """Return a session with its identity, as whoami shows it."""
        return {**self.session_alone(session), "identity": self.identity(session.identity)}

    def session_alone(self, session: Session) -> Wire:
        """Return a session without its identity."""
        return {
            "id": str(session.id),
            "active": session.active,
            "expires_at": moment(session.expires_at),
            "authenticated_at": moment(session.authenticated_at),
            "authenticator_assurance_level": session.aal,
            "authentication_methods": [_proof(method) for method in session.authentication_methods],
            "issued_at": moment(session.issued_at),
            "devices": [
                {"id": str(d.id), "ip_address": d.ip_address, "user_agent": d.user_agent, "location": d.location}
                for d in session.devices
            ],
            **_present(actor=_actor(session.actor)),
        }

    def session_in_list(self, session: Session) -> Wire:
        """Return a session of a list, with a shortened identity. A customer learns that an agent acts, not which."""
        left_out = {"verifiable_addresses", "recovery_addresses", "state_changed_at"}
        identity = {k: v for k, v in self.identity(session.identity).items() if k not in left_out}
        acting = {"actor": {"type": ACTOR}} if session.actor is not None else {}
        return {**self.session_alone(session), **acting, "identity": {**identity, "schema_url": ""}}

    def flow(self, flow: Flow, *, own: Wire, language: str = SOURCE, csrf_token: str = "") -> Wire:
        """Return a flow with the `own` fields of its kind, and with the anti-CSRF token, which is never stored.

        A flow is stored in English; its labels and messages are translated here, for whoever reads it.
        """
        shown = flow.change_node("csrf_token", csrf_node(csrf_token))
        onward = flow.node("continue") if flow.state is FlowState.PASSED_CHALLENGE else None
        action = f"{self.base_url}/self-service/{flow.kind}?{flow.submit_query}"
        messages = [each.to_wire() for each in messages_in(flow.shown_messages, language)]
        return {
            "id": str(flow.id),
            "type": flow.type,
            "expires_at": moment(flow.expires_at),
            "issued_at": moment(flow.issued_at),
            "request_url": flow.request_url,
            **_present(return_to=flow.return_to, active=flow.active, transient_payload=flow.transient_payload),
            "ui": {
                "action": onward.attributes["href"] if onward else action,
                "method": "GET" if onward else "POST",
                "nodes": [node_in(node, language).to_wire() for node in shown.nodes] or None,
                **({"messages": messages} if messages else {}),
            },
            "state": flow.state,
            **_present(session_token_exchange_code=flow.exchange_code),
            **own,
        }


def _actor(actor: Actor | None) -> Wire | None:
    """Return the agent who acts in a session; sessions without one do not have the member."""
    return {"type": ACTOR, "sub": actor.subject} if actor is not None else None


def _proof(method: AuthenticationMethod) -> Wire:
    return {
        "method": method.method,
        "aal": method.aal,
        "completed_at": moment(method.completed_at),
        **_present(provider=method.provider),
    }


def _verifiable(address: VerifiableAddress) -> Wire:
    return {
        "id": str(address.id),
        "value": address.value,
        "verified": address.verified,
        "via": address.via,
        "status": address.status,
        **({"verified_at": moment(address.verified_at)} if address.verified_at else {}),
        "created_at": moment(address.created_at),
        "updated_at": moment(address.updated_at),
    }


def _recovery(address: RecoveryAddress) -> Wire:
    return {
        "id": str(address.id),
        "value": address.value,
        "via": address.via,
        "created_at": moment(address.created_at),
        "updated_at": moment(address.updated_at),
    }


def _credential(credential: Credential, *, with_config: bool) -> Wire:
    return {
        "type": credential.type,
        "identifiers": list(credential.identifiers),
        **({"config": dict(credential.config)} if with_config else {}),
        "version": credential.version,
        "created_at": moment(credential.created_at),
        "updated_at": moment(credential.updated_at),
    }


def _addresses(name: str, addresses: list[Wire]) -> Wire:
    return {name: addresses} if addresses else {}


def _present(**fields: Mapping[str, Any] | str | None) -> Wire:
    return {name: value for name, value in fields.items() if value is not None}


def cart_merge_shape(report: CartMergeReport) -> Wire:
    """Return the report of a cart merge, line by line."""
    lines = [
        {
            "variantId": line.variant_id,
            "before": line.before,
            "wanted": line.wanted,
            "after": line.after,
            "change": line.change,
        }
        for line in report.lines
    ]
    return {"id": report.cart_id, "outcome": report.outcome, "lines": lines}
