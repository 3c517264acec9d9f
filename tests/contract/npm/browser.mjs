// A browser: every flow with cookies.

import assert from "node:assert/strict";
import { IDENTIFIER, NEXT_PASSWORD, PASSWORD, Browser, by, codeTo, linkTo, newAddress, publicUrl, token } from "./visiting.mjs";

export async function browserApp() {
  const email = newAddress();
  const browser = new Browser();
  let flow = await browser.expect(200, "createBrowserRegistrationFlow");
  assert.equal((await browser.expect(200, "getRegistrationFlow", { id: flow.id })).id, flow.id);
  const registering = { method: "password", password: PASSWORD, traits: { email }, csrf_token: token(flow) };
  await browser.expect(200, "updateRegistrationFlow", { flow: flow.id, updateRegistrationFlowBody: registering });
  assert.equal((await browser.expect(200, "toSession")).identity.traits.email, email);
  await verifyInBrowser(browser, email);
  await changeInBrowser(browser, email);

  const leaving = await browser.expect(200, "createBrowserLogoutFlow");
  await browser.expect(204, "updateLogoutFlow", { token: leaving.logout_token });
  await browser.expect(401, "toSession");

  flow = await browser.expect(200, "createBrowserLoginFlow");
  assert.equal((await browser.expect(200, "getLoginFlow", { id: flow.id })).id, flow.id);
  const signingIn = { method: "password", [IDENTIFIER]: email, password: NEXT_PASSWORD, csrf_token: token(flow) };
  await browser.expect(403, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: { ...signingIn, csrf_token: "x" } });
  await browser.expect(200, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: signingIn });
  await browser.expect(200, "toSession");
  await recoverInBrowser(email);
}

async function verifyInBrowser(browser, email) {
  const flow = await browser.expect(200, "createBrowserVerificationFlow");
  assert.equal((await browser.expect(200, "getVerificationFlow", { id: flow.id })).id, flow.id);
  const asked = { method: by, email, csrf_token: token(flow) };
  await browser.expect(200, "updateVerificationFlow", { flow: flow.id, updateVerificationFlowBody: asked });
  if (by === "link") {
    assert.equal((await browser.open(await linkTo(email, "verification_valid", 2))).status, 303);
  } else {
    const code = await codeTo(email, "verification_code_valid", 2);
    const proof = { method: "code", code, csrf_token: token(flow) };
    const done = await browser.expect(200, "updateVerificationFlow", { flow: flow.id, updateVerificationFlowBody: proof });
    assert.equal(done.state, "passed_challenge");
  }
  assert.ok((await browser.expect(200, "toSession")).identity.verifiable_addresses[0].verified);
}

async function changeInBrowser(browser, email) {
  const flow = await browser.expect(200, "createBrowserSettingsFlow");
  assert.equal((await browser.expect(200, "getSettingsFlow", { id: flow.id })).id, flow.id);
  const csrf_token = token(flow);
  const change = (body) => ({ flow: flow.id, updateSettingsFlowBody: { ...body, csrf_token } });
  const profile = { method: "profile", traits: { email, name: { first: "Ada" } } };
  assert.equal((await browser.expect(200, "updateSettingsFlow", change(profile))).state, "success");
  await browser.expect(200, "updateSettingsFlow", change({ method: "password", password: NEXT_PASSWORD }));
}

async function recoverInBrowser(email) {
  const browser = new Browser();
  const flow = await browser.expect(200, "createBrowserRecoveryFlow");
  assert.equal((await browser.expect(200, "getRecoveryFlow", { id: flow.id })).id, flow.id);
  const submit = (body) => ({ flow: flow.id, updateRecoveryFlowBody: { ...body, csrf_token: token(flow) } });
  await browser.expect(200, "updateRecoveryFlow", submit({ method: by, email }));
  let next;
  if (by === "link") {
    next = (await browser.open(await linkTo(email, "recovery_valid"))).headers.get("location");
  } else {
    const code = await codeTo(email, "recovery_code_valid");
    next = (await browser.expect(422, "updateRecoveryFlow", submit({ method: "code", code }))).redirect_browser_to;
  }
  const settings = await browser.expect(200, "getSettingsFlow", { id: new URL(next, publicUrl).searchParams.get("flow") });
  const chosen = { method: "password", password: PASSWORD, csrf_token: token(settings) };
  await browser.expect(200, "updateSettingsFlow", { flow: settings.id, updateSettingsFlowBody: chosen });
  assert.equal((await browser.expect(200, "toSession")).identity.traits.email, email);
}
