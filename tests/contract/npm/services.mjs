// A service: obtains, exchanges, refreshes, introspects and revokes tokens with openid-client, and verifies them with jose.
// Arguments: the issuer, and JSON with the credentials and a session token.

import assert from "node:assert/strict";
import * as jose from "jose";
import * as oauth from "openid-client";

const [issuer, told] = process.argv.slice(2);
const { secret, introspecting, jwk, session } = JSON.parse(told);
const url = new URL(issuer);
const options = { algorithm: "oauth2", execute: [oauth.allowInsecureRequests] };
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const SESSION = "urn:shopkeeper:params:oauth:token-type:session_token";

const byHeader = await oauth.discovery(url, "orders", undefined, oauth.ClientSecretBasic(secret), options);
const byForm = await oauth.discovery(url, "orders", undefined, oauth.ClientSecretPost(secret), options);
const key = await jose.importJWK(jwk, jwk.alg);
const byKey = await oauth.discovery(url, "signed", undefined, oauth.PrivateKeyJwt({ key, kid: jwk.kid }), options);
const stock = await oauth.discovery(url, "stock", undefined, oauth.ClientSecretBasic(introspecting), options);

const metadata = byHeader.serverMetadata();
assert.ok(metadata.supportsPKCE() === false);
const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri));
const rules = { issuer, audience: "stock", typ: "at+jwt", algorithms: ["ES256"], requiredClaims: ["jti", "client_id"] };

for (const [config, subject] of [[byHeader, "orders"], [byForm, "orders"], [byKey, "signed"], [byKey, "signed"]]) {
  const own = await oauth.clientCredentialsGrant(config, { scope: "orders:read", audience: "stock" });
  assert.equal(own.token_type, "bearer");
  assert.equal(own.expiresIn(), 600);
  const { payload } = await jose.jwtVerify(own.access_token, keys, rules);
  assert.deepEqual([payload.sub, payload.client_id, payload.scope], [subject, subject, "orders:read"]);
  assert.equal((await oauth.tokenIntrospection(stock, own.access_token)).active, true);
  await oauth.tokenRevocation(config, own.access_token);
  assert.deepEqual(await oauth.tokenIntrospection(stock, own.access_token), { active: false });
}

const asked = { subject_token: session, subject_token_type: SESSION, audience: "stock" };
const exchanged = await oauth.genericGrantRequest(byHeader, EXCHANGE, asked);
assert.equal(exchanged.issued_token_type, "urn:ietf:params:oauth:token-type:access_token");
const person = (await jose.jwtVerify(exchanged.access_token, keys, rules)).payload;
const seen = await oauth.tokenIntrospection(stock, exchanged.access_token);
assert.deepEqual([seen.active, seen.sub, seen.client_id], [true, person.sub, "orders"]);

const refreshed = await oauth.refreshTokenGrant(byHeader, exchanged.refresh_token);
assert.equal((await jose.jwtVerify(refreshed.access_token, keys, rules)).payload.sub, person.sub);
await oauth.tokenRevocation(byHeader, refreshed.refresh_token, { token_type_hint: "refresh_token" });
for (const token of [exchanged.access_token, refreshed.access_token])
  assert.deepEqual(await oauth.tokenIntrospection(stock, token), { active: false });

const refuses = (promise, error, status) =>
  assert.rejects(promise, (refused) => refused.error === error && refused.status === status && !!refused.error_description);
await refuses(oauth.refreshTokenGrant(byHeader, refreshed.refresh_token), "invalid_grant", 400);
await refuses(oauth.clientCredentialsGrant(byHeader, { scope: "admin" }), "invalid_scope", 400);
await refuses(oauth.clientCredentialsGrant(byHeader, { audience: "x" }), "invalid_target", 400);
const wrong = await oauth.discovery(url, "orders", undefined, oauth.ClientSecretBasic("wrong"), options);
await assert.rejects(oauth.clientCredentialsGrant(wrong), (refused) => refused.status === 401);
