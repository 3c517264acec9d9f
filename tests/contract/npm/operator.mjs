// An operator: makes, finds, changes and deletes a customer, ends sessions, and hands out a way back into the account.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Browser, by, expect, expectAdmin, newAddress, publicUrl } from "./visiting.mjs";

export async function operator() {
  const email = newAddress();
  const schemas = await expect(200, "listIdentitySchemas", {});
  assert.ok(schemas.some((one) => one.id === "default"));
  await expect(200, "getIdentitySchema", { id: "default" });
  const body = { schema_id: "default", traits: { email } };
  const made = await expectAdmin(201, "createIdentity", { createIdentityBody: body });
  await expectAdmin(409, "createIdentity", { createIdentityBody: body });
  assert.deepEqual((await expectAdmin(200, "getIdentity", { id: made.id })).traits, { email });
  assert.ok((await expectAdmin(200, "listIdentities", { perPage: 250 })).length >= 1);
  const changed = { ...body, state: "active", traits: { email, name: { first: "Ida" } } };
  const renamed = await expectAdmin(200, "updateIdentity", { id: made.id, updateIdentityBody: changed });
  assert.deepEqual(renamed.traits.name, { first: "Ida" });
  await handOut(made.id, email);
  await expectAdmin(204, "deleteIdentitySessions", { id: made.id });
  await expectAdmin(204, "deleteIdentity", { id: made.id });
  await expectAdmin(404, "getIdentity", { id: made.id });
}

async function handOut(identity_id, email) {
  if (by === "code") {
    const given = await expectAdmin(201, "createRecoveryCodeForIdentity", { createRecoveryCodeForIdentityBody: { identity_id } });
    const flow = new URL(given.recovery_link).searchParams.get("flow");
    const body = { method: "code", code: given.recovery_code };
    const done = await expect(422, "updateRecoveryFlow", { flow, updateRecoveryFlowBody: body });
    assert.ok(new URL(done.redirect_browser_to).searchParams.get("flow"));
    return;
  }
  const given = await expectAdmin(200, "createRecoveryLinkForIdentity", { createRecoveryLinkForIdentityBody: { identity_id } });
  await expectAdmin(400, "createRecoveryLinkForIdentity", { createRecoveryLinkForIdentityBody: { identity_id: randomUUID() } });
  const browser = new Browser();
  const answer = await browser.open(given.recovery_link);
  assert.equal(answer.status, 303);
  const flow = new URL(answer.headers.get("location"), publicUrl).searchParams.get("flow");
  assert.ok((await browser.expect(200, "getSettingsFlow", { id: flow })).ui.nodes.length);
  assert.equal((await browser.expect(200, "toSession")).identity.traits.email, email);
}
