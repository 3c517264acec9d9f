"""The dispatcher of the self-service flows, and what acts on each step."""

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.accounts_elsewhere import build_accounts_elsewhere
from shopkeeper.app.commerce import Commerce
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.verification import build_registrants, build_verification_opener
from shopkeeper.crypto import KeyRing
from shopkeeper.flows.account_changes import AccountChanges
from shopkeeper.flows.address_proofs import AddressProofs
from shopkeeper.flows.attempts import FlowAttempts
from shopkeeper.flows.collisions import Collisions
from shopkeeper.flows.departures import PURPOSE as DEPARTURES
from shopkeeper.flows.departures import Departures
from shopkeeper.flows.dispatch import Dispatcher
from shopkeeper.flows.endings import FlowEndings
from shopkeeper.flows.enrolments import Enrolments
from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.flows.keep_signed_in import KeepSignedIn
from shopkeeper.flows.missing_traits import MissingTraits
from shopkeeper.flows.opener import FlowOpener
from shopkeeper.flows.pending_links import PURPOSE as PENDING_LINKS
from shopkeeper.flows.pending_links import PendingLinks
from shopkeeper.flows.proofs import Proofs
from shopkeeper.flows.registrar import Registrar
from shopkeeper.flows.return_to import ReturnAddresses
from shopkeeper.flows.sign_in_requests import SignInRequests
from shopkeeper.identity.address_changes import Recipients
from shopkeeper.notify.account_notices import AccountNotices
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.settings import Settings


def build_dispatcher(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    *,
    registrar: Registrar,
    opener: FlowOpener,
    keeping: KeepSignedIn,
    attempts: FlowAttempts,
    return_addresses: ReturnAddresses,
) -> Dispatcher:
    settings, database, clock = infrastructure.settings, infrastructure.database, infrastructure.clock
    verifications = build_verification_opener(infrastructure, accounts)
    names_verification = settings.feature_flags.legacy_continue_with_verification_ui
    writer = FlowWriter(database, attempts=attempts, clock=clock)
    requests = SignInRequests(keeping)
    endings = FlowEndings(
        completion=commerce.completion,
        return_addresses=return_addresses,
        verifications=verifications,
        names_verification=names_verification,
    )
    notices = AccountNotices(commerce.courier, base_url=infrastructure.base_url)
    collisions = Collisions(
        database=database,
        registrar=registrar,
        identities=accounts.identities,
        links=PendingLinks(KeyRing(settings.secrets.for_sealing(), purpose=PENDING_LINKS)),
        methods={method.name: method for method in accounts.methods.every},
        writer=writer,
        opener=opener,
        keeping=keeping,
        notices=notices,
        clock=clock,
        login_url=settings.selfservice.flows.login.ui_url,
        elsewhere=build_accounts_elsewhere(settings),
    )
    proofs = Proofs(
        database=database,
        completion=commerce.completion,
        identities=accounts.identities,
        collisions=collisions,
        writer=writer,
        endings=endings,
        requests=requests,
        opener=opener,
        clock=clock,
        verifications=verifications,
        privileged_for=settings.selfservice.flows.settings.privileged_session_max_age,
    )
    return Dispatcher(
        database=database,
        writer=writer,
        opener=opener,
        keeping=keeping,
        clock=clock,
        departures=Departures(
            database, writer=writer, keys=KeyRing(settings.secrets.for_sealing(), purpose=DEPARTURES)
        ),
        proofs=proofs,
        enrolments=Enrolments(
            completion=commerce.completion,
            registrar=registrar,
            missing=MissingTraits(database=database, writer=writer, opener=opener, keeping=keeping, clock=clock),
            collisions=collisions,
            proofs=proofs,
            writer=writer,
            endings=endings,
            requests=requests,
            opener=opener,
            clock=clock,
            verifications=verifications,
        ),
        address_proofs=AddressProofs(
            database=database,
            identities=accounts.identities,
            registrants=build_registrants(infrastructure, accounts),
            return_addresses=return_addresses,
            writer=writer,
            clock=clock,
        ),
        changes=AccountChanges(
            completion=commerce.completion,
            identities=accounts.identities,
            address_changes=accounts.address_changes,
            notices=notices,
            attempts=SignUpNotices(infrastructure.cache),
            verifications=verifications,
            throttle=accounts.throttles["settings"],
            return_addresses=return_addresses,
            clock=clock,
            recipients=_recipients(settings),
            names_verification=names_verification,
        ),
    )


def _recipients(settings: Settings) -> Recipients:
    """Return which addresses from before a change are told of it (the hook `notify_previous_addresses`)."""
    hooks = settings.selfservice.flows.settings.after.profile.hooks
    told = [hook.notified().recipients for hook in hooks if hook.hook == "notify_previous_addresses"]
    return Recipients(told[-1]) if told else Recipients.REMOVED
