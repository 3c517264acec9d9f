// Refusals that a client tells apart: by status and by the id of the error.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Browser, PASSWORD, by, expect, newAddress, token } from "./visiting.mjs";

const KINDS = ["Login", "Registration", "Recovery", "Verification"];

export async function errors() {
  assert.equal((await expect(200, "getFlowError", { id: "stub:500" })).error.code, 500);
  await expect(404, "getFlowError", { id: randomUUID() });
  for (const kind of KINDS) await foreign(kind);
  const { browser, used, body } = await signedIn();
  await usedUp(browser, used, body);
  await whileSignedIn(browser);
  await settingsOfAnother(browser);
}

// A flow belongs to the browser that opened it, and returns to known places only.
async function foreign(kind) {
  await expect(404, `get${kind}Flow`, { id: randomUUID() });
  const browser = new Browser();
  const flow = await browser.expect(200, `createBrowser${kind}Flow`, {});
  if (kind !== "Recovery" && kind !== "Verification") await expect(403, `get${kind}Flow`, { id: flow.id });
  await browser.expect(200, `get${kind}Flow`, { id: flow.id });
  if (kind !== "Recovery") {
    const forged = { method: by, email: newAddress(), csrf_token: "of another page" };
    const refused = await browser.expect(403, `update${kind}Flow`, { flow: flow.id, [`update${kind}FlowBody`]: forged });
    assert.equal(refused.error.id, "security_csrf_violation");
  }
  const elsewhere = await expect(400, `createBrowser${kind}Flow`, { returnTo: "https://elsewhere.example/" });
  assert.equal(elsewhere.error.id, "self_service_flow_return_to_forbidden");
}

async function signedIn() {
  const browser = new Browser();
  const flow = await browser.expect(200, "createBrowserRegistrationFlow", {});
  const body = { method: "password", password: PASSWORD, traits: { email: newAddress() }, csrf_token: token(flow) };
  await browser.expect(200, "updateRegistrationFlow", { flow: flow.id, updateRegistrationFlowBody: body });
  return { browser, used: flow.id, body };
}

async function usedUp(browser, used, body) {
  const again = { flow: used, updateRegistrationFlowBody: body };
  const refused = await browser.expect(400, "updateRegistrationFlow", again);
  assert.equal(refused.error.id, "session_already_available");
  const another = new Browser();
  const flow = await another.expect(200, "createBrowserLoginFlow", {});
  const signingIn = { method: "password", identifier: body.traits.email, password: PASSWORD, csrf_token: token(flow) };
  await another.expect(200, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: signingIn });
  const expired = await another.expect(410, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: signingIn });
  assert.equal(expired.error.id, "self_service_flow_expired");
}

async function whileSignedIn(browser) {
  const refused = await browser.expect(400, "createBrowserLoginFlow", {});
  assert.equal(refused.error.id, "session_already_available");
}

async function settingsOfAnother(browser) {
  assert.equal((await expect(401, "createBrowserSettingsFlow", {})).error.id, "session_inactive");
  const flow = await browser.expect(200, "createBrowserSettingsFlow", {});
  const { browser: another } = await signedIn();
  const refused = await another.expect(403, "getSettingsFlow", { id: flow.id });
  assert.equal(refused.error.id, "security_identity_mismatch");
}
