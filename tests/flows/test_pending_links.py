"""What waits for the proof of an account, kept sealed in a flow."""

from dataclasses import replace

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.steps import NewCredential, UpstreamSession
from shopkeeper.crypto import KeyRing, new_id
from shopkeeper.flows.flow import Flow, FlowType
from shopkeeper.flows.pending_links import PURPOSE, PendingLink, PendingLinks, without_link
from shopkeeper.identity.values import Via
from shopkeeper.openid.authenticated import LONGEST_HINT
from shopkeeper.ui.messages import message

UPSTREAM = UpstreamSession("idp", "https://idp.example", "alice", sid="s-1", id_token="a.b.c")
LINK = PendingLink(new_id(), NewCredential("oidc", {"providers": [{"subject": "alice"}]}, ["idp:alice"]), "IdP")
TOLD = message(1010016, provider="IdP", duplicate_identifier="ada@example.org")


@pytest.fixture
def links() -> PendingLinks:
    return PendingLinks(KeyRing(["a secret"], purpose=PURPOSE))


@pytest.fixture
def flow(clock: StoppedClock) -> Flow:
    now = clock.now()
    return Flow(new_id(), "login", "default", FlowType.BROWSER, "https://shop.test/", now, now, now, now)


@pytest.mark.parametrize(
    "link",
    [LINK, replace(LINK, upstream=UPSTREAM), replace(LINK, verified=((Via.EMAIL, "ada@example.org"),))],
    ids=["alone", "with a provider's session", "with a verified address"],
)
def test_come_back_as_they_were_kept(links: PendingLinks, flow: Flow, link: PendingLink) -> None:
    assert links.of(links.keeping(flow, link, standing=TOLD)) == link


def test_an_id_token_that_no_session_keeps_is_not_kept_here_either(links: PendingLinks, flow: Flow) -> None:
    long = replace(UPSTREAM, id_token="x" * (LONGEST_HINT + 1))
    kept = links.of(links.keeping(flow, replace(LINK, upstream=long), standing=TOLD))
    assert kept == replace(LINK, upstream=replace(UPSTREAM, id_token=None))


def test_are_not_opened_in_another_flow_or_with_another_secret(links: PendingLinks, flow: Flow) -> None:
    kept = links.keeping(flow, LINK, standing=TOLD)
    assert links.of(replace(kept, id=new_id())) is None
    assert PendingLinks(KeyRing(["another secret"], purpose=PURPOSE)).of(kept) is None


def test_are_what_the_form_says_first_until_they_are_given_up(links: PendingLinks, flow: Flow) -> None:
    wrong = message(4000006)
    kept = replace(links.keeping(flow, LINK, standing=TOLD), messages=(wrong,))
    assert (kept.links, kept.shown_messages) == (True, (TOLD, wrong))
    given_up = without_link(kept)
    assert (given_up.links, given_up.shown_messages) == (False, (wrong,))
