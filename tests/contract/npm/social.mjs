// A native app signs in by an OpenID provider, and a page links and unlinks an account there, with a published client:
//
//     node social.mjs CLIENT PUBLIC ADMIN PROVIDER EMAIL LINKED
//
// The persons of these addresses are signed in at the provider by a `login_hint` alone.

import assert from "node:assert/strict";
import { Browser, client, expect, newAddress, PASSWORD, publicUrl, token } from "./visiting.mjs";

const [provider, email, linked] = process.argv.slice(5);
const APP = "https://www.example.org/app";

// Go through the provider; return where the callback of ours leads. A webview has none of our cookies.
async function through(address, browser = new Browser()) {
  assert.ok(address.startsWith(`${provider}/`), address);
  for (let hops = 0; hops < 12; hops++) {
    const answer = await browser.open(address);
    const next = new URL(answer.headers.get("location"), address).href;
    if (address.startsWith(`${publicUrl}/`)) return new URL(next);
    address = next;
  }
  throw new Error(`no way out of ${address}`);
}

async function signIn(open, update, body) {
  const flow = await expect(200, open, { returnSessionTokenExchangeCode: true, returnTo: APP });
  const initCode = flow.session_token_exchange_code;
  const chosen = { method: "oidc", provider: "idp", upstream_parameters: { login_hint: email } };
  const left = await expect(422, update, { flow: flow.id, [body]: chosen });
  const back = await through(left.redirect_browser_to);
  assert.equal(back.origin + back.pathname, APP);
  const codes = { initCode, returnToCode: back.searchParams.get("code") };
  await expect(404, "exchangeSessionToken", { ...codes, returnToCode: "of-another" });
  const { session_token: xSessionToken, session } = await expect(200, "exchangeSessionToken", codes);
  assert.equal((await expect(200, "toSession", { xSessionToken })).id, session.id);
  await expect(404, "exchangeSessionToken", codes);
  return session;
}

const registered = await signIn("createNativeRegistrationFlow", "updateRegistrationFlow", "updateRegistrationFlowBody");
assert.equal(registered.identity.traits.email, email);
assert.equal(registered.authentication_methods[0].provider, "idp");
const signedIn = await signIn("createNativeLoginFlow", "updateLoginFlow", "updateLoginFlowBody");
assert.equal(signedIn.identity.id, registered.identity.id);
assert.notEqual(signedIn.id, registered.id);

const browser = new Browser();
const opened = await browser.expect(200, "createBrowserRegistrationFlow");
const traits = { email: newAddress() };
const updateRegistrationFlowBody = { method: "password", password: PASSWORD, traits, csrf_token: token(opened) };
await browser.expect(200, "updateRegistrationFlow", { flow: opened.id, updateRegistrationFlowBody });

// The body has no `csrf_token`: the type of client-fetch knows none, and leaves it out.
async function change(status, body) {
  const { id } = await browser.expect(200, "createBrowserSettingsFlow");
  const sent = client === "client-fetch" ? {} : { csrf_token: token(await browser.expect(200, "getSettingsFlow", { id })) };
  const updateSettingsFlowBody = { method: "oidc", ...sent, ...body };
  return browser.expect(status, "updateSettingsFlow", { flow: id, updateSettingsFlowBody });
}

const unlinkable = (flow) => flow.ui.nodes.filter((node) => node.attributes.name === "unlink").length;
const away = await change(422, { link: "idp", upstream_parameters: { login_hint: linked } });
await through(away.redirect_browser_to, browser);
assert.equal(unlinkable(await browser.expect(200, "createBrowserSettingsFlow")), 1);
assert.equal(unlinkable(await change(200, { unlink: "idp" })), 0);
