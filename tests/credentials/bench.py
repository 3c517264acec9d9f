"""How to drive each method from the first form to a proof, as the pipeline would drive it.

Every call of a method is made in a unit that only reads; effects are committed in a unit of their own.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from shopkeeper.client import Client
from shopkeeper.credentials.linked_providers import LinkedAccount, linking
from shopkeeper.credentials.method import (
    Callback,
    CallbackMethod,
    LoginMethod,
    MethodInput,
    MethodView,
    RegistrationMethod,
    SettingsMethod,
    Traits,
)
from shopkeeper.credentials.steps import AnyStep, Ask, Form, NewCredential, Proof, Redirect
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.ui.nodes import Node, csrf_node, input_node
from tests.flows.conftest import Stage
from tests.flows.travelling_method import travel_credential
from tests.openid.scripted import ScriptedProvider, signed

PASSWORD = "a kettle on the plum shelf"
UNKNOWN = "nobody@example.org"
CALLBACK = Callback("https://shop.test/self-service/methods/x/callback", "the-state")
SIX_DIGITS = re.compile(r"\b\d{6}\b")
_clients = count(1)


def another_client() -> Client:
    """Return a client with an address of its own, so that no throttle refuses before the method does."""
    number = next(_clients)
    return Client(ip=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")


@dataclass
class Talk:
    """One flow of a client with a method: the context that the method stored, and the nodes that it shows."""

    bench: "Bench"
    identity: Identity | None = None
    native: bool = False
    aal: Aal = Aal.AAL1
    context: Mapping[str, Any] = field(default_factory=dict)
    shown: Sequence[Node] = field(
        default_factory=lambda: (csrf_node(), input_node("identifier", "text", group="default", value=""))
    )
    attempts: int = 0

    async def login(self, **submitted: Any) -> AnyStep:
        return await self._take(await self._read("submit_login", self.input(submitted)))

    async def register(self, traits: Mapping[str, Any], **submitted: Any) -> AnyStep:
        schema = self.bench.stage.scene.application.accounts.schemas.default
        known = Traits(schema.id, traits, schema.extract(traits))
        submission = replace(self.input({"traits": traits, **submitted}), traits=known)
        return await self._take(await self._read("submit_registration", submission))

    async def change(self, **submitted: Any) -> AnyStep:
        return await self._take(await self._read("submit_settings", self.input(submitted)))

    async def come_back(self, query: Mapping[str, str]) -> AnyStep:
        return await self._take(await self._read("callback", replace(self.input({}), query=query)))

    async def form(self, kind: str) -> Form:
        return await self._read(f"{kind}_form", self.view())

    def view(self) -> MethodView:
        return MethodView(
            client=another_client(),
            context=self.context,
            refresh=self.identity is not None,
            requested_aal=self.aal,
            identity=self.identity,
            native=self.native,
        )

    def input(self, submitted: Mapping[str, Any]) -> MethodInput:
        view = self.view()
        return MethodInput(
            **{name: getattr(view, name) for name in MethodView.__slots__},
            submitted={"method": self.bench.method.name, **submitted},
            shown=self.shown,
            count_attempt=self._count,
            callback=CALLBACK,
        )

    async def _read(self, verb: str, asked: MethodView) -> Any:
        async with self.bench.stage.scene.application.infrastructure.database.reading() as unit:
            return await getattr(self.bench.method, verb)(unit, asked)

    async def _take(self, step: AnyStep) -> AnyStep:
        """Do what the pipeline does with a step, as far as the method can observe it."""
        self.last_effect = getattr(step, "effect", None)
        if isinstance(step, Ask):
            self.context, self.shown = json.loads(json.dumps(step.form.context)), step.form.nodes
        if isinstance(step, Redirect):
            self.context = json.loads(json.dumps(step.context))
        return step

    async def commit(self) -> None:
        """Commit the effect of the last step."""
        if self.last_effect is not None:
            async with self.bench.stage.scene.application.infrastructure.database.unit() as unit:
                await self.last_effect(unit)

    async def _count(self, most: int) -> bool:
        if self.attempts >= most:
            return False
        self.attempts += 1
        return True


@dataclass
class Bench:
    """A method, and how to drive it. Each method has a subclass."""

    stage: Stage
    idp: ScriptedProvider
    """The provider of social sign-in."""
    name: ClassVar[str]
    fields: ClassVar[Sequence[str]]
    """The fields that its forms send."""
    registers_with: ClassVar[Mapping[str, str]] = {}
    """What a registration must send besides the traits."""
    proves_an_address: ClassVar[bool] = False
    """Whether its proof rests on an address of the identity, and not on a credential."""

    @property
    def method(self) -> Any:
        methods = self.stage.scene.application.accounts.methods.every
        found: LoginMethod | RegistrationMethod | SettingsMethod | CallbackMethod
        [found] = [method for method in methods if method.name == self.name]  # type: ignore[assignment]
        return found

    @property
    def identities(self) -> Identities:
        return self.stage.scene.application.accounts.identities

    def talk(self, **more: Any) -> Talk:
        return Talk(self, **more)

    async def customer(self, email: str) -> Identity:
        """Create an account that the method signs in to."""
        async with self.stage.scene.application.infrastructure.database.unit() as unit:
            new = NewIdentity(traits={"email": email}, credentials=await self._credentials(email))
            created = await self.identities.create(unit, new)
        return await self.read(created)

    async def read(self, identity: Identity) -> Identity:
        async with self.stage.scene.application.infrastructure.database.unit() as unit:
            return await self.identities.lock(unit, identity.id)

    async def _credentials(self, email: str) -> Sequence[NewCredential]:
        raise NotImplementedError

    async def prove(self, identity: Identity, talk: Talk | None = None) -> Proof:
        """Prove an account with all that the method asks for."""
        raise NotImplementedError

    async def first_step(self, email: str, talk: Talk) -> AnyStep:
        """Make the first submission for an account that may not exist; a wrong one, where it is judged already."""
        raise NotImplementedError

    async def asked(self, email: str) -> Talk:
        """Return a flow in which the method has stored a context, if it ever does."""
        return self.talk()

    async def secrets(self, email: str) -> tuple[Talk, Mapping[str, Any], Sequence[str]]:
        """Return a flow, a right submission that holds secrets, and these secrets."""
        raise NotImplementedError

    async def change_traits(self, identity: Identity, email: str) -> None:
        async with self.stage.scene.application.infrastructure.database.unit() as unit:
            await self.identities.replace(unit, identity.id, NewIdentity(traits={"email": email}))

    async def mailed_code(self) -> str:
        """Return the code in the newest mail."""
        mail, *_ = await self.stage.scene.waiting_mails()
        return str(SIX_DIGITS.findall(mail.subject)[0])


class PasswordBench(Bench):
    name = "password"
    fields = ("identifier", "password", "method", "traits")

    async def _credentials(self, email: str) -> Sequence[NewCredential]:
        hashed = await self.stage.scene.application.accounts.hasher.hash(PASSWORD)
        return [NewCredential("password", {"hashed_password": hashed})]

    async def prove(self, identity: Identity, talk: Talk | None = None) -> Proof:
        step = await (talk or self.talk()).login(identifier=identity.email, password=PASSWORD)
        assert isinstance(step, Proof)
        return step

    async def first_step(self, email: str, talk: Talk) -> AnyStep:
        return await talk.login(identifier=email, password="a wrong guess")

    async def secrets(self, email: str) -> tuple[Talk, Mapping[str, Any], Sequence[str]]:
        return self.talk(), {"identifier": email, "password": PASSWORD}, [PASSWORD]

    async def changed_credential(self, identity: Identity) -> None:
        config = {"hashed_password": await self.stage.scene.application.accounts.hasher.hash("another kettle")}
        async with self.stage.scene.application.infrastructure.database.unit() as unit:
            await self.identities.set_credential_config(unit, identity.id, "password", config)

    async def removed_credential(self, identity: Identity) -> None:
        async with self.stage.scene.application.infrastructure.database.unit() as unit:
            await self.identities.delete_credential(unit, identity.id, "password")


class CodeBench(Bench):
    name = "code"
    fields = ("identifier", "code", "address", "resend", "method", "traits")
    proves_an_address = True

    async def _credentials(self, email: str) -> Sequence[NewCredential]:
        return ()

    async def prove(self, identity: Identity, talk: Talk | None = None) -> Proof:
        talk = talk or self.talk()
        await talk.login(identifier=identity.email)
        await talk.commit()
        step = await talk.login(identifier=identity.email, code=await self.mailed_code())
        assert isinstance(step, Proof)
        return step

    async def first_step(self, email: str, talk: Talk) -> AnyStep:
        return await talk.login(identifier=email)

    async def asked(self, email: str) -> Talk:
        talk = self.talk()
        await talk.login(identifier=email)
        await talk.commit()
        return talk

    async def secrets(self, email: str) -> tuple[Talk, Mapping[str, Any], Sequence[str]]:
        talk = await self.asked(email)
        code = await self.mailed_code()
        return talk, {"identifier": email, "code": code}, [code]

    async def changed_credential(self, identity: Identity) -> None:
        await self.change_traits(identity, f"{uuid4().hex}@example.org")

    async def removed_credential(self, identity: Identity) -> None:
        await self.change_traits(identity, f"{uuid4().hex}@example.org")


class TravelBench(Bench):
    name = "travel"
    fields = ("word", "method", "traits")

    async def _credentials(self, email: str) -> Sequence[NewCredential]:
        return [travel_credential(email)]

    async def prove(self, identity: Identity, talk: Talk | None = None) -> Proof:
        self.stage.provider.says("proof", subject=identity.email)
        step = await self._travelled(talk or self.talk())
        assert isinstance(step, Proof)
        return step

    async def first_step(self, email: str, talk: Talk) -> AnyStep:
        return await talk.login(identifier=email)

    async def asked(self, email: str) -> Talk:
        talk = self.talk()
        self.stage.provider.says("ask", subject=email, word="plum-on-the-shelf")
        await self._travelled(talk)
        return talk

    async def secrets(self, email: str) -> tuple[Talk, Mapping[str, Any], Sequence[str]]:
        return await self.asked(email), {"word": "plum-on-the-shelf"}, ["plum-on-the-shelf"]

    async def changed_credential(self, identity: Identity) -> None:
        await self._change(identity, travel_credential("other"))

    async def removed_credential(self, identity: Identity) -> None:
        await self._change(identity, None)

    async def _change(self, identity: Identity, credential: NewCredential | None) -> None:
        async with self.stage.scene.application.infrastructure.database.unit() as unit:
            await self.identities.change_credentials(
                unit, identity, {"travel": credential}, actor="system", client_ip=None
            )

    async def _travelled(self, talk: Talk) -> AnyStep:
        left = await talk.login()
        assert isinstance(left, Redirect)
        back = await self.stage.provider.send_back(left.url)
        return await talk.come_back(dict(parse_qsl(urlsplit(back).query)))


class OidcBench(Bench):
    name = "oidc"
    fields = ("provider", "id_token", "id_token_nonce", "upstream_parameters", "link", "unlink", "method", "traits")
    registers_with: ClassVar[Mapping[str, str]] = {"provider": "idp"}

    async def _credentials(self, email: str) -> Sequence[NewCredential]:
        return [self._linked(email)]

    async def prove(self, identity: Identity, talk: Talk | None = None) -> Proof:
        talk = talk or self.talk()
        left = await talk.login(provider="idp")
        assert isinstance(left, Redirect)
        nonce = dict(parse_qsl(urlsplit(left.url).query))["nonce"]
        self.idp.answer("/token", self.idp.tokens(signed(self.idp.claims(sub=identity.email, nonce=nonce))))
        step = await talk.come_back({"code": "c-1", "state": CALLBACK.state, "provider": "idp"})
        assert isinstance(step, Proof)
        return step

    async def first_step(self, email: str, talk: Talk) -> AnyStep:
        return await talk.login(provider="idp", upstream_parameters={"login_hint": email})

    async def asked(self, email: str) -> Talk:
        talk = self.talk()
        await talk.login(provider="idp")
        return talk

    async def secrets(self, email: str) -> tuple[Talk, Mapping[str, Any], Sequence[str]]:
        token = signed(self.idp.claims(sub=email, nonce="of-the-app"))
        return self.talk(), {"provider": "idp", "id_token": token, "id_token_nonce": "of-the-app"}, [token]

    async def changed_credential(self, identity: Identity) -> None:
        await self._change(identity, self._linked("another"))

    async def removed_credential(self, identity: Identity) -> None:
        await self._change(identity, None)

    def _linked(self, subject: str) -> NewCredential:
        return linking([LinkedAccount("idp", subject, self.idp.issuer)])

    async def _change(self, identity: Identity, credential: NewCredential | None) -> None:
        async with self.stage.scene.application.infrastructure.database.unit() as unit:
            await self.identities.change_credentials(
                unit, identity, {"oidc": credential}, actor="system", client_ip=None
            )


BENCHES: Sequence[type[Bench]] = (PasswordBench, CodeBench, OidcBench, TravelBench)
