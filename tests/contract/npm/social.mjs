// A native app signs in by an OpenID provider, with a published client:
//
//     node social.mjs CLIENT PUBLIC ADMIN PROVIDER EMAIL
//
// The person of this address is signed in at the provider by a `login_hint` alone.

import assert from "node:assert/strict";
import { Browser, expect, publicUrl } from "./visiting.mjs";

const [provider, email] = process.argv.slice(5);
const APP = "https://www.example.org/app";

// Go through the provider, in a webview without our cookies; return where the callback of ours leads.
async function through(address) {
  assert.ok(address.startsWith(`${provider}/`), address);
  const webview = new Browser();
  for (let hops = 0; hops < 12; hops++) {
    const answer = await webview.open(address);
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
