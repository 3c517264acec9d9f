"""The signed-in customer, and registration."""

from collections.abc import Mapping
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from shopkeeper.errors import SessionAlreadyAvailable
from shopkeeper.graphql.answers import Answer, worded
from shopkeeper.graphql.context import Context, Info
from shopkeeper.graphql.cost import ListSize
from shopkeeper.graphql.fields import resolved
from shopkeeper.graphql.pagination import DONE, Attribute, MutationResponse
from shopkeeper.graphql.registration import Problem, SignUpRejected, trait, traits_of

REJECTED = "INVALID_INPUT"


@strawberry.type(description="A customer's account. What it does not say is null.")
class Customer:
    account: strawberry.Private[str]
    address: strawberry.Private[str | None]
    traits: strawberry.Private[Mapping[str, Any]]

    @resolved("The id of the account: the same in every engine.")
    def id(self) -> str:
        return self.account

    @resolved("The e-mail address.")
    def email(self) -> str | None:
        return self.address

    @resolved("The first name.")
    def first_name(self) -> str | None:
        return trait(self.traits, "firstName")

    @resolved("Names between first and last.")
    def middle_name(self) -> str | None:
        return trait(self.traits, "middleName")

    @resolved("The last name.")
    def last_name(self) -> str | None:
        return trait(self.traits, "lastName")

    @resolved("A title, such as Dr.")
    def title(self) -> str | None:
        return trait(self.traits, "title")

    @resolved("How to address them in a letter.")
    def salutation(self) -> str | None:
        return trait(self.traits, "salutation")

    @resolved("The company.")
    def company_name(self) -> str | None:
        return trait(self.traits, "companyName")

    @resolved("The date of birth in ISO 8601.")
    def date_of_birth(self) -> str | None:
        return trait(self.traits, "dateOfBirth")

    custom_attrs: list[Attribute] = strawberry.field(
        default_factory=list, description="Further attributes.", directives=[ListSize(assumed_size=1)]
    )


@strawberry.type(description="What is wrong with one field.")
class FieldProblem:
    problem: strawberry.Private[Problem]

    @resolved("The input field, or null where it is about all of them together.")
    def field(self) -> str | None:
        return self.problem.field

    @resolved("The number of the sentence, the same in every language.")
    def id(self) -> int:
        return self.problem.number

    @resolved("What to do about it, as a sentence for people.")
    def message(self) -> str:
        return self.problem.text


@strawberry.type(description="A customer after a change, or why there was none.")
class CustomerAuthMutationResponse(MutationResponse):
    customer: Customer | None = strawberry.field(description="The customer as they are now.")
    problems: list[FieldProblem] = strawberry.field(
        default_factory=list, description="What is wrong, field by field.", directives=[ListSize(assumed_size=5)]
    )


@strawberry.input(description="Who wants to become a customer. Empty texts count as left out.")
class CustomerSignUpInput:
    email: str = strawberry.field(description="The e-mail address to sign in with.")
    password: str = strawberry.field(description="The password to sign in with.")
    first_name: str | None = strawberry.field(default=UNSET, description="The first name.")
    middle_name: str | None = strawberry.field(default=UNSET, description="Names between first and last.")
    last_name: str | None = strawberry.field(default=UNSET, description="The last name.")
    title: str | None = strawberry.field(default=UNSET, description="A title, such as Dr.")
    salutation: str | None = strawberry.field(default=UNSET, description="How to address them in a letter.")
    date_of_birth: str | None = strawberry.field(default=UNSET, description="The date of birth in ISO 8601.")
    company_name: str | None = strawberry.field(default=UNSET, description="The company.")


@strawberry.type
class CustomerQueries:
    @resolved("The customer who is signed in; null for a visitor.")
    async def get_current_customer(self, info: Info) -> Customer | None:
        context = info.context
        if not context.principal.signed_in:
            return None
        return _of_identity(context) or await _of_engine(context)


@strawberry.type
class CustomerMutations:
    @resolved(
        "Makes an account. It does not sign in: ask `/signin` for that. What does not do is answered in `problems`,"
        " field by field."
    )
    async def sign_up(
        self,
        info: Info,
        *,
        customer_sign_up_input: Annotated[CustomerSignUpInput, strawberry.argument(description="Who it is for.")],
    ) -> CustomerAuthMutationResponse | None:
        context = info.context
        if context.principal.signed_in:
            raise SessionAlreadyAvailable
        try:
            customer = await _sign_up(context, customer_sign_up_input)
        except SignUpRejected as rejected:
            return _rejected(rejected, context.language)
        return CustomerAuthMutationResponse(
            code=DONE, success=True, message=worded(Answer.SIGNED_UP, context.language), customer=customer
        )


async def _sign_up(context: Context, asked: CustomerSignUpInput) -> Customer:
    entered = _entered(asked)
    identity = await context.registration(
        entered,
        store=context.principal.store,
        password=asked.password,
        client=context.principal.client,
        locale=context.language,
        wished_language=context.wished_language,
    )
    # Echo the input, not what was stored: otherwise an answer would differ for an address that is taken.
    return Customer(account=str(identity.id), address=asked.email, traits=traits_of(entered))


def _entered(asked: CustomerSignUpInput) -> dict[str, str]:
    fields = {
        "email": asked.email,
        "firstName": asked.first_name,
        "middleName": asked.middle_name,
        "lastName": asked.last_name,
        "title": asked.title,
        "salutation": asked.salutation,
        "dateOfBirth": asked.date_of_birth,
        "companyName": asked.company_name,
    }
    return {name: value for name, value in fields.items() if value}


def _rejected(rejected: SignUpRejected, language: str) -> CustomerAuthMutationResponse:
    shown = [problem.within(language) for problem in rejected.problems]
    problems, message = [FieldProblem(problem=problem) for problem in shown], shown[0].text
    return CustomerAuthMutationResponse(code=REJECTED, success=False, message=message, customer=None, problems=problems)


def _of_identity(context: Context) -> Customer | None:
    identity = context.principal.identity
    if identity is None:
        return None
    return Customer(account=context.principal.subject, address=identity.email, traits=identity.traits)


async def _of_engine(context: Context) -> Customer | None:
    """Return what the engine knows of a customer whose token was issued elsewhere."""
    customers = context.engine.customers
    known = await customers.customer() if customers is not None else None
    if known is None:
        return None
    name = {"first": known.first_name, "last": known.last_name}
    return Customer(account=known.identity_id, address=known.email, traits={"name": name})
