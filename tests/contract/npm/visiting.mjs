// What every journey needs: calls that must be answered as expected, a browser with cookies, the mails.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { CLIENTS } from "./clients.mjs";

export const [client, publicUrl, adminUrl, by] = process.argv.slice(2);
const call = CLIENTS[client](publicUrl);
const callAdmin = CLIENTS[client](adminUrl);
export const PASSWORD = "a kettle on the plum shelf";
// Its type for the body of a sign-in has no other name.
export const IDENTIFIER = client === "kratos-client-0.8" ? "password_identifier" : "identifier";
export const NEXT_PASSWORD = "seven quinces in a basket";

export async function expect(status, name, parameters) {
  const answer = await call(name, parameters);
  assert.equal(answer.status, status, `${name} was answered with ${answer.status}: ${JSON.stringify(answer.data)}`);
  return answer.data;
}

// Call the admin API, as an operator does.
export async function expectAdmin(status, name, parameters) {
  const answer = await callAdmin(name, parameters);
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

export async function codeTo(recipient, template, count) {
  return (await mailTo(recipient, template, count)).match(/\b\d{6}\b/)[0];
}

export async function linkTo(recipient, template, count) {
  const mail = await mailTo(recipient, template, count);
  return mail.match(/https?:\/\/[^\s"<>]+token=[^\s"<>]+/)[0].replaceAll("&amp;", "&");
}

// -- a browser's cookies ----------------------------------------------------------------------------------------------

export class Browser {
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

export function token(flow) {
  return flow.ui.nodes.find((node) => node.attributes.name === "csrf_token").attributes.value;
}

export function newAddress() {
  return `npm-${randomUUID()}@example.org`;
}
