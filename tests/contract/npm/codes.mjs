// Registering and signing in by one-time code, without a password.

import assert from "node:assert/strict";
import { Browser, codeTo, expect, newAddress, token } from "./visiting.mjs";

export async function codeSignIn() {
  const email = newAddress();
  await registerNatively(email);
  await signInBrowser(email);
}

async function registerNatively(email) {
  const flow = await expect(200, "createNativeRegistrationFlow");
  const submit = (body) => ({ flow: flow.id, updateRegistrationFlowBody: { method: "code", traits: { email }, ...body } });
  assert.equal((await expect(400, "updateRegistrationFlow", submit({}))).state, "sent_email");
  const code = await codeTo(email, "registration_code_valid");
  const wrong = await expect(400, "updateRegistrationFlow", submit({ code: other(code) }));
  assert.deepEqual(wrong.ui.messages.map((one) => one.id), [4040003]);
  const made = await expect(200, "updateRegistrationFlow", submit({ code }));
  assert.equal((await expect(200, "toSession", { xSessionToken: made.session_token })).identity.traits.email, email);
}

async function signInBrowser(email) {
  const browser = new Browser();
  const flow = await browser.expect(200, "createBrowserLoginFlow");
  let csrf_token = token(flow);
  const submit = (body) => ({ flow: flow.id, updateLoginFlowBody: { method: "code", identifier: email, csrf_token, ...body } });
  const asked = await browser.expect(400, "updateLoginFlow", submit({}));
  assert.equal(asked.state, "sent_email");
  csrf_token = token(asked);
  const code = await codeTo(email, "login_code_valid");
  const wrong = await browser.expect(400, "updateLoginFlow", submit({ code: other(code) }));
  assert.deepEqual(wrong.ui.messages.map((one) => one.id), [4010008]);
  await browser.expect(200, "updateLoginFlow", submit({ code }));
  assert.equal((await browser.expect(200, "toSession")).identity.traits.email, email);
}

function other(code) {
  return String((Number(code) + 1) % 1_000_000).padStart(6, "0");
}
