// What a native app and a browser do with a published client, flow by flow:
//
//     node journeys.mjs CLIENT PUBLIC ADMIN code|link
//
// It ends with 0 when every flow went as Kratos' contract says, and names the first one that did not.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { CLIENTS } from "./clients.mjs";

const [client, publicUrl, adminUrl, by] = process.argv.slice(2);
const call = CLIENTS[client](publicUrl);
const PASSWORD = "a kettle on the plum shelf";
const NEXT_PASSWORD = "seven quinces in a basket";

async function expect(status, name, parameters) {
  const answer = await call(name, parameters);
  assert.equal(answer.status, status, `${name} was answered with ${answer.status}: ${JSON.stringify(answer.data)}`);
  return answer.data;
}

// -- mails ------------------------------------------------------------------------------------------------------------

// Wait for the given number of mails of a type to an address, and return the newest.
async function mailTo(recipient, template, count = 1) {
  for (let tries = 0; tries < 200; tries++) {
    const answer = await fetch(`${adminUrl}/admin/courier/messages?recipient=${encodeURIComponent(recipient)}`);
    const mails = (await answer.json()).filter((one) => one.template_type === template && one.body);
    if (mails.length >= count) return mails[0].body;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`no mail of type ${template} came for ${recipient}`);
}

async function codeTo(recipient, template, count) {
  return (await mailTo(recipient, template, count)).match(/\b\d{6}\b/)[0];
}

async function linkTo(recipient, template, count) {
  const mail = await mailTo(recipient, template, count);
  return mail.match(/https?:\/\/[^\s"<>]+token=[^\s"<>]+/)[0].replaceAll("&amp;", "&");
}

// -- a browser's cookies ----------------------------------------------------------------------------------------------

class Browser {
  #jar = new Map();

  get cookie() {
    return [...this.#jar].map(([name, value]) => `${name}=${value}`).join("; ");
  }

  take(cookies) {
    for (const line of cookies) {
      const [pair, ...attributes] = line.split(";");
      const [name, value] = pair.split(/=(.*)/s);
      const ended = attributes.some((one) => /^\s*max-age=0$/i.test(one));
      if (ended || value === "") this.#jar.delete(name.trim());
      else this.#jar.set(name.trim(), value);
    }
  }

  async expect(status, name, parameters = {}) {
    const answer = await call(name, { ...parameters, cookie: this.cookie });
    assert.equal(answer.status, status, `${name} was answered with ${answer.status}: ${JSON.stringify(answer.data)}`);
    this.take(answer.cookies);
    return answer.data;
  }

  async open(address) {
    const answer = await fetch(address, { headers: { Cookie: this.cookie, Accept: "text/html" }, redirect: "manual" });
    this.take(answer.headers.getSetCookie());
    return answer;
  }
}

function token(flow) {
  return flow.ui.nodes.find((node) => node.attributes.name === "csrf_token").attributes.value;
}

function newAddress() {
  return `npm-${randomUUID()}@example.org`;
}

// -- the journeys -----------------------------------------------------------------------------------------------------

async function nativeApp() {
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
  const signingIn = { method: "password", identifier: email, password: "not the password" };
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

async function browserApp() {
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
  const signingIn = { method: "password", identifier: email, password: NEXT_PASSWORD, csrf_token: token(flow) };
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

async function errors() {
  assert.equal((await expect(200, "getFlowError", { id: "stub:500" })).error.code, 500);
  await expect(404, "getFlowError", { id: randomUUID() });
  await expect(404, "getLoginFlow", { id: randomUUID() });
}

await nativeApp();
await browserApp();
await errors();
