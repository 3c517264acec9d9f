// Who is shopping, and their cart: known from the server only, told to whoever listens.

import { ask, signIn, signOut } from "./api.js";
import { SIGN_UP, VISITOR } from "./queries.js";

export const visitor = { customer: null, cart: null };

const changes = new EventTarget();

/** Calls back whenever whoever was signed in here is not any more, and did not sign out here. */
export function onEnd(what) {
  changes.addEventListener("end", what);
}

/** Calls back whenever somebody else is shopping, or the cart has changed. */
export function onChange(what) {
  changes.addEventListener("change", what);
}

function set(known) {
  Object.assign(visitor, known);
  changes.dispatchEvent(new Event("change"));
}

/** Takes the cart as a change has left it. Another one than before may be another visitor's: then we ask who we are. */
export function setCart(cart) {
  const another = visitor.customer && cart && cart.id !== visitor.cart?.id;
  set({ cart: cart?.active === false ? null : cart });
  if (another) refreshQuietly();
}

/** Asks who we are, and leaves trouble to be told by whatever is asked next. */
export async function refreshQuietly() {
  try {
    await refresh();
  } catch {
    set({});
  }
}

/** Asks the server who we are and what is in the cart. */
export async function refresh() {
  const { getCurrentCustomer, getCart } = await ask(VISITOR);
  const ended = visitor.customer && !getCurrentCustomer;
  set({ customer: getCurrentCustomer, cart: getCart?.active === false ? null : getCart });
  if (ended) changes.dispatchEvent(new Event("end"));
}

/** Signs in, with the cart. Answers what could not be taken over, line by line, and whether there was a cart. */
export async function enter({ username, password }) {
  await refresh();
  const before = visitor.customer ? null : visitor.cart;
  const oldCartId = before?.totalQuantity ? before.id : undefined;
  const access = await signIn({ username, password, oldCartId });
  await refresh();
  return { hadCart: Boolean(oldCartId), lost: lost(access.cart, before) };
}

const WHOLE = new Set(["added", "raised", "unchanged"]);

function lost(report, before) {
  const names = new Map([before, visitor.cart].flatMap((cart) => (cart?.entries ?? []).map(named)));
  return (report?.lines ?? [])
    .filter((line) => !WHOLE.has(line.change))
    .map((line) => ({ ...line, name: names.get(line.variantId) ?? line.variantId }));
}

function named(entry) {
  const [item] = entry.items;
  return [item?.itemId.id, item?.displayName];
}

/** Makes an account. Answers the problems with what was typed; none means that it is made. */
export async function register(fields) {
  const { signUp } = await ask(SIGN_UP, { input: fields });
  if (signUp.success) return [];
  return signUp.problems.length ? signUp.problems : [{ field: null, message: signUp.message }];
}

export async function leave() {
  await signOut();
  set({ customer: null, cart: null });
  await refresh();
}
