// One customer on several devices: listing and ending sessions, and confirming that it is still the same person.

import assert from "node:assert/strict";
import { Browser, PASSWORD, expect, newAddress, token } from "./visiting.mjs";

export async function devices() {
  const email = newAddress();
  let flow = await expect(200, "createNativeRegistrationFlow");
  const registering = { method: "password", password: PASSWORD, traits: { email } };
  const made = await expect(200, "updateRegistrationFlow", { flow: flow.id, updateRegistrationFlowBody: registering });
  const [phone, tablet, browser] = [await signIn(email), await signIn(email), new Browser()];
  await signInBrowser(browser, email);

  const others = await expect(200, "listMySessions", { xSessionToken: made.session_token });
  assert.equal(others.length, 3);
  await expect(204, "disableMySession", { id: phone.session.id, xSessionToken: made.session_token });
  await expect(401, "toSession", { xSessionToken: phone.session_token });
  await browser.expect(200, "toSession");

  flow = await expect(200, "createNativeLoginFlow", { refresh: true, xSessionToken: made.session_token });
  assert.equal(flow.refresh, true);
  const again = { method: "password", identifier: email, password: PASSWORD };
  await expect(200, "updateLoginFlow", { flow: flow.id, xSessionToken: made.session_token, updateLoginFlowBody: again });

  const ended = await browser.expect(200, "disableMyOtherSessions");
  assert.ok(ended.count >= 2);
  await expect(401, "toSession", { xSessionToken: tablet.session_token });
  await browser.expect(200, "toSession");
}

async function signIn(email) {
  const flow = await expect(200, "createNativeLoginFlow", {});
  const body = { method: "password", identifier: email, password: PASSWORD };
  return expect(200, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: body });
}

async function signInBrowser(browser, email) {
  const flow = await browser.expect(200, "createBrowserLoginFlow");
  const body = { method: "password", identifier: email, password: PASSWORD, csrf_token: token(flow) };
  await browser.expect(200, "updateLoginFlow", { flow: flow.id, updateLoginFlowBody: body });
}
