// The cart: change how many, take out, and on to ordering. Totals are the server's.

import { ask, explain } from "./api.js";
import { picture, was } from "./catalogue.js";
import { act, announce, fill, list, once, say, tell, toast } from "./page.js";
import { REMOVE, UPDATE } from "./queries.js";
import { refresh, setCart, visitor } from "./visitor.js";

const HOW_MANY = /^\d{1,2}$/;
const STALE = new Set(["FORBIDDEN", "NOT_FOUND", "CART_CLOSED", "TOKEN_INVALID"]);

let news = null;

/** Has the cart tell something when it is shown next: why there was no order, for example. */
export function tellInCart(sentence) {
  news = sentence;
}

export async function showCart() {
  await refresh();
  const piece = cartPage();
  const place = piece.querySelector("#cart-problem");
  if (place) tell(place, news);
  news = null;
  return { title: say("cart"), piece };
}

function cartPage() {
  const { cart, customer } = visitor;
  if (!cart?.entries.length) return fill("t-empty", { title: say("cart_empty"), sentence: say("cart_empty_why") });
  const before = was({ purchasePrice: cart.totalPurchasePrice, listPrice: cart.totalListPrice });
  const piece = fill("t-cart", {
    total: cart.totalPurchasePrice.moneyAmounts[0].displayValue,
    before,
    note: customer ? say("no_charge") : say("sign_in_to_order"),
  });
  piece.querySelector(".before").hidden = !before;
  list(piece, "entries").append(...cart.entries.map(entryRow));
  act(piece, "check-out", () => { location.hash = "#/checkout"; });
  return piece;
}

function entryRow(entry) {
  const [item] = entry.items;
  const name = item?.displayName ?? say("gone");
  const piece = fill("t-entry", {
    name,
    picture: picture(item?.imageSet?.thumbnail),
    href: item?.mainItem ? `#/product/${item.mainItem.slug}` : "#/cart",
    each: say("each", { price: entry.purchasePrice.moneyAmounts[0].displayValue }),
    total: entry.totalPurchasePrice.moneyAmounts[0].displayValue,
    less: say("less", { name }),
    more: say("more", { name }),
    which: say("which", { name }),
  });
  const row = piece.querySelector("li");
  row.dataset.entry = entry.id;
  const change = (quantity, key) => alter(row, name, key, () => set(entry.id, quantity));
  act(piece, "less", () => change(entry.quantity - 1, "less"));
  act(piece, "more", () => change(entry.quantity + 1, "more"));
  act(piece, "remove", () => alter(row, name, "remove", () => remove(entry.id)));
  const field = act(piece, "set", () => typed(field, row, entry, change), "change");
  field.value = entry.quantity;
  field.setAttribute("aria-label", say("how_many", { name }));
  return piece;
}

/** What is no number of things changes nothing: nobody loses a line for a slip. */
function typed(field, row, entry, change) {
  if (HOW_MANY.test(field.value.trim())) return change(Number(field.value), "set");
  field.value = entry.quantity;
  return tell(row.querySelector(".message"), say("how_many_fit"));
}

async function set(entryId, quantity) {
  if (quantity === 0) return remove(entryId);
  return (await ask(UPDATE, { input: { cartId: visitor.cart.id, entryId, quantity } })).updateCart.cart;
}

async function remove(entryId) {
  return (await ask(REMOVE, { input: { cartId: visitor.cart.id, entryId } })).removeFromCart.cart;
}

/** Changes a line and draws the cart again, with the focus where it was. */
function alter(row, name, key, what) {
  return once(row, async () => {
    row.classList.add("busy");
    try {
      setCart(await what());
      redraw(row.dataset.entry, key);
      told(row.dataset.entry, name);
    } catch (error) {
      await refused(row, key, error);
    }
  });
}

async function refused(row, key, error) {
  const { customer } = visitor;
  if (STALE.has(error.code)) {
    await refresh();
  }
  redraw(row.dataset.entry, key);
  if (customer && !visitor.customer) return; // that the session has ended is told, and says why
  const line = document.querySelector(`[data-entry="${row.dataset.entry}"] .message`);
  const place = line ?? document.getElementById("cart-problem");
  if (place) tell(place, explain(error).sentence);
  else toast(explain(error).sentence);
}

function redraw(entryId, key) {
  document.getElementById("view").replaceChildren(cartPage());
  const same = document.querySelector(`[data-entry="${entryId}"] [data-act="${key}"]`);
  const heading = document.querySelector("#view h1");
  if (same) same.focus({ preventScroll: true });
  else {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
}

function told(entryId, name) {
  const entry = visitor.cart?.entries.find((each) => each.id === entryId);
  const total = visitor.cart?.totalPurchasePrice.moneyAmounts[0].displayValue ?? "";
  const what = entry ? say("changed", { name, count: entry.quantity }) : say("removed", { name });
  if (!entry) toast(what);
  announce(`${what}. ${say("cart_total", { total })}`);
}
