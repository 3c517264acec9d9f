// A native app: every flow without cookies.

import assert from "node:assert/strict";
import { IDENTIFIER, NEXT_PASSWORD, PASSWORD, by, codeTo, expect, newAddress } from "./visiting.mjs";

export async function nativeApp() {
  const email = newAddress();
  let flow = await expect(200, "createNativeRegistrationFlow");
  assert.equal((await expect(200, "getRegistrationFlow", { id: flow.id })).id, flow.id);
  const registering = { method: "password", password: PASSWORD, traits: { email } };
  const refused = { ...registering, password: "x" };
  assert.ok((await expect(400, "updateRegistrationFlow", { flow: flow.id, updateRegistrationFlowBody: refused })).ui);
  const made = await expect(200, "updateRegistrationFlow", { flow: flow.id, updateRegistrationFlowBody: registering });
  assert.equal(made.identity.traits.email, email);
  const xSessionToken = made.session_token;
  assert.equal((await expect(200, "toSession", { xSessionToken })).identity.id, made.identity.id);
  await expect(401, "toSession");
  await verifyNatively(email);
  await changeNatively(email, xSessionToken);
  await expect(204, "performNativeLogout", { performNativeLogoutBody: { session_token: xSessionToken } });
  await expect(401, "toSession", { xSessionToken });

  flow = await expect(200, "createNativeLoginFlow", {});
  assert.equal((await expect(200, "getLoginFlow", { id: flow.id })).id, flow.id);
  const signingIn = { method: "password", [IDENTIFIER]: email, password: "not the password" };
  assert.equal((await expect(400, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: signingIn })).ui.messages[0].id, 4000006);
  signingIn.password = NEXT_PASSWORD;
  const signedIn = await expect(200, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: signingIn });
  assert.ok((await expect(200, "toSession", { xSessionToken: signedIn.session_token })).active);
  await recoverNatively(email);
}

async function verifyNatively(email) {
  const flow = await expect(200, "createNativeVerificationFlow", {});
  assert.equal((await expect(200, "getVerificationFlow", { id: flow.id })).id, flow.id);
  const asked = { flow: flow.id, updateVerificationFlowBody: { method: by, email } };
  assert.equal((await expect(200, "updateVerificationFlow", asked)).state, "sent_email");
  if (by === "link") return;
  // The first mail belongs to the registration.
  const code = await codeTo(email, "verification_code_valid", 2);
  const proof = { flow: flow.id, updateVerificationFlowBody: { method: "code", code } };
  assert.equal((await expect(200, "updateVerificationFlow", proof)).state, "passed_challenge");
}

async function changeNatively(email, xSessionToken) {
  const flow = await expect(200, "createNativeSettingsFlow", { xSessionToken });
  assert.equal((await expect(200, "getSettingsFlow", { id: flow.id, xSessionToken })).id, flow.id);
  await expect(401, "createNativeSettingsFlow", {});
  const profile = { method: "profile", traits: { email, name: { first: "Ada" } } };
  const change = (updateSettingsFlowBody) => ({ flow: flow.id, xSessionToken, updateSettingsFlowBody });
  assert.deepEqual((await expect(200, "updateSettingsFlow", change(profile))).identity.traits.name, { first: "Ada" });
  await expect(400, "updateSettingsFlow", change({ method: "password", password: "x" }));
  const changed = await expect(200, "updateSettingsFlow", change({ method: "password", password: NEXT_PASSWORD }));
  assert.equal(changed.state, "success");
}

async function recoverNatively(email) {
  const flow = await expect(200, "createNativeRecoveryFlow");
  assert.equal((await expect(200, "getRecoveryFlow", { id: flow.id })).id, flow.id);
  const submit = (updateRecoveryFlowBody) => ({ flow: flow.id, updateRecoveryFlowBody });
  assert.equal((await expect(200, "updateRecoveryFlow", submit({ method: by, email }))).state, "sent_email");
  if (by === "link") return;
  const code = await codeTo(email, "recovery_code_valid");
  await expect(422, "updateRecoveryFlow", submit({ method: "code", code }));
}
