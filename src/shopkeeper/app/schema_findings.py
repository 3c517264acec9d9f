"""Findings about identity schemas, which are read when the application is built: advice for `shopkeeper doctor`."""

from collections.abc import Iterator

from shopkeeper.app.accounts import Accounts
from shopkeeper.credentials.code import Code
from shopkeeper.settings import Finding

_MARK = '"ory.sh/kratos": {"credentials": {"code": {"identifier": true, "via": "email"}}}'


def schema_findings(accounts: Accounts) -> Iterator[Finding]:
    """Yield a notice for each schema without an address for codes, where codes sign in and register."""
    code = next((method.facts.type for method in accounts.methods.every if isinstance(method, Code)), None)
    for schema in accounts.schemas.all() if code else ():
        if not any(code in field.identifies for field in schema.fields()):
            sentence = (
                f"The identity schema {schema.id!r} marks no address for codes, so that nobody registers with a code,"
                f" though selfservice.methods.code.passwordless_enabled is on; add {_MARK} to an address."
            )
            yield Finding("notice", "identity.schemas", sentence)
