// The shop's public API. Who is asking stands in cookies that scripts cannot read; no token ever passes through here.

import { base, say } from "./page.js";

/** Something the shop refused, or could not do. `code` is for programs, `message` for people. */
export class ShopError extends Error {
  constructor({ code, message = "", retryAfter = null, details = {} }) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
    this.details = details;
  }
}

const HEADERS = { "Content-Type": "application/json", Accept: "application/json" };

/** Asks /graphql. A visitor whom the shop does not know yet is made known first, once. */
export async function ask(query, variables = {}) {
  try {
    return await graphql(query, variables);
  } catch (error) {
    if (!STRANGE.has(error.code)) throw error;
  }
  await beginVisit();
  try {
    return await graphql(query, variables);
  } catch (error) {
    if (error.code !== "TOKEN_INVALID") throw error;
  }
  // This visit's cart was handed over elsewhere, so the visit is at its end: begin another.
  await signOut();
  return graphql(query, variables);
}

const STRANGE = new Set(["UNAUTHENTICATED", "TOKEN_INVALID"]);

async function graphql(query, variables) {
  const { data } = await post("/graphql", { query, variables });
  return data;
}

let beginning = null;

/** An anonymous visit; the cookie that holds it is set by the answer. Several who need one at once share it. */
function beginVisit() {
  beginning ??= post("/signin", {}).finally(() => { beginning = null; });
  return beginning;
}

/** Signs a customer in and hands over the cart that they filled before, if there is one. */
export function signIn({ username, password, oldCartId }) {
  const hint = oldCartId ? { authHint: { oldCartId, mergeWithExistingCustomerCart: "true" } } : {};
  return post("/signin", { username, password, ...hint });
}

export const signOut = () => post("/signout", {});

async function post(path, body) {
  let answer;
  try {
    answer = await fetch(`${base}${path}`, { method: "POST", headers: HEADERS, body: JSON.stringify(body) });
  } catch {
    throw new ShopError({ code: "OFFLINE" });
  }
  const told = await read(answer);
  if (told?.errors?.length) throw refused(told.errors[0], answer);
  if (!answer.ok || told === null) throw broken(answer);
  return told;
}

async function read(answer) {
  try {
    return await answer.json();
  } catch {
    return null; // a proxy's own page, or half an answer
  }
}

function refused({ message, extensions = {} }, answer) {
  const { code = "BROKEN", retryAfter, ...details } = extensions;
  return new ShopError({ code, message, details, retryAfter: retryAfter ?? waitOf(answer) });
}

const BY_STATUS = { 429: "TOO_MANY_REQUESTS", 502: "BUSY", 503: "BUSY", 504: "BUSY" };

function broken(answer) {
  return new ShopError({ code: BY_STATUS[answer.status] ?? "BROKEN", retryAfter: waitOf(answer) });
}

function waitOf(answer) {
  const seconds = Number.parseInt(answer.headers.get("Retry-After") ?? "", 10);
  return Number.isNaN(seconds) ? null : seconds;
}

const KNOWN = {
  OFFLINE: () => ({ title: say("offline"), sentence: say("offline_why") }),
  TOO_MANY_REQUESTS: (error) => ({ title: say("wait"), sentence: say("wait_why", { wait: wait(error) }) }),
  BUSY: (error) => ({ title: say("busy"), sentence: say("busy_why", { wait: wait(error) }) }),
  BROKEN: () => ({ title: say("broken"), sentence: say("broken_why") }),
};
KNOWN.INTERNAL_SERVER_ERROR = KNOWN.BROKEN;

/** What to tell people of an error: a title and a sentence. */
export function explain(error) {
  if (!(error instanceof ShopError)) return KNOWN.BROKEN();
  return KNOWN[error.code]?.(error) ?? { title: say("failed"), sentence: error.message };
}

function wait({ retryAfter }) {
  const seconds = retryAfter ?? 5;
  return seconds < 100 ? say("seconds", { count: seconds }) : say("minutes", { count: Math.ceil(seconds / 60) });
}
