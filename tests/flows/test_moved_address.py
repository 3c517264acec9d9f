"""A code counts while its address belongs to the account that it was sent for, which is asked under the lock."""

from tests.attacks.scene import new_address, sign_up
from tests.flows.conftest import Staging
from tests.flows.test_statement_counts import SETTINGS, Counting

CREDENTIALS_INVALID = 4000006


async def test_row_066_a_code_at_an_address_that_has_left_the_account_signs_nobody_in(
    staging: Staging, dsn: str
) -> None:
    async with staging(dsn, **SETTINGS) as stage:
        counting = Counting(stage.scene)
        app, admin, email = await stage.scene.native(), await stage.scene.admin(), new_address()
        account = (await sign_up(app, email))["identity"]
        flow = await counting.open(app, "login")
        fields = {"method": "code", "identifier": email}
        await counting.submit("ask", app, "login", flow, status=400, **fields)
        code = await counting.code_for(email)
        moved = {"schema_id": "default", "state": "active", "traits": {"email": new_address("moved")}}
        assert (await admin.put(f"/admin/identities/{account['id']}", json=moved)).status_code == 200
        await sign_up(await stage.scene.native(), email)
        answer = await counting.submit("give", app, "login", flow, status=400, **fields, code=code)
        assert [told["id"] for told in answer["ui"]["messages"]] == [CREDENTIALS_INVALID]
        [refused] = await stage.events("sign_in.failed")
        assert (refused.subject, refused.details["reason"]) == (account["id"], "wrong_credentials")
        assert len(await stage.scene.rows("sessions")) == 2
