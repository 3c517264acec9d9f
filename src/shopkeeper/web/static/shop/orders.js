// From the cart to an order, and what was ordered before.

import { explain } from "./api.js";
import { tellInCart } from "./cart.js";
import { askAsCustomer, requireCustomer } from "./dialogs.js";
import { act, fill, language, list, once, say, tell } from "./page.js";
import { CHECK_OUT, ORDER_BY_NUMBER, ORDERS, PLACE } from "./queries.js";
import { refresh, setCart, visitor } from "./visitor.js";

const PAGE = 10;
const NOT_ONES_OWN = new Set(["FORBIDDEN", "NOT_FOUND", "UNAUTHENTICATED"]);
const CHANGED = new Set(["CART_CHANGED"]);
// What is wrong with the cart is mended in the cart.
const FOR_THE_CART = new Set(["OUT_OF_STOCK", "CART_EMPTY", "CART_CLOSED", "CURRENCY_MISMATCH", "FORBIDDEN"]);

export async function showCheckout() {
  const { signedIn, whole } = await requireCustomer(say("sign_in_first"));
  if (!signedIn || !whole || !visitor.cart?.entries.length) return { instead: "#/cart" };
  try {
    return { title: say("check_out"), piece: checkoutPage(await draft()) };
  } catch (error) {
    if (!FOR_THE_CART.has(error.code)) throw error;
    tellInCart(explain(error).sentence);
    return { instead: "#/cart" };
  }
}

async function draft() {
  return (await askAsCustomer(CHECK_OUT, { cartId: visitor.cart.id })).checkOut.order;
}

function checkoutPage(order) {
  const email = visitor.customer?.email;
  const whom = [email ? say("order_for", { email }) : "", say("no_charge")];
  const piece = fill("t-checkout", { total: order.totalAmount[0].displayValue, whom: whom.join(" ") });
  list(piece, "lines").append(...order.orderItems.map(line));
  const button = act(piece, "place", () => once(button, () => place(order)));
  return piece;
}

async function place(order) {
  try {
    const { placeOrder } = await askAsCustomer(PLACE, { id: order.id });
    setCart(null);
    document.getElementById("news").replaceChildren();
    location.hash = `#/thanks/${encodeURIComponent(placeOrder.order.orderNumber)}`;
  } catch (error) {
    await notPlaced(error);
  }
}

/** What has changed is shown again before anything is ordered. */
async function notPlaced(error) {
  if (FOR_THE_CART.has(error.code)) {
    tellInCart(explain(error).sentence);
    location.hash = "#/cart";
    return;
  }
  if (CHANGED.has(error.code)) {
    await refresh();
    document.getElementById("view").replaceChildren(checkoutPage(await draft()));
  }
  const sentence = CHANGED.has(error.code) ? say("order_changed") : explain(error).sentence;
  tell(document.getElementById("order-problem"), sentence);
}

/** Nobody is thanked for an order that was never placed: an address says nothing, the shop knows. */
export async function showThanks(number) {
  const order = await placed(number);
  if (!order) return { instead: "#/orders" };
  const email = visitor.customer?.email;
  const mail = email ? say("mail_sent", { email }) : "";
  return { title: order.orderNumber, piece: fill("t-thanks", { number: order.orderNumber, mail }) };
}

async function placed(number) {
  if (!visitor.customer) return null;
  try {
    const { order } = await askAsCustomer(ORDER_BY_NUMBER, { number });
    return order?.draft ? null : order;
  } catch (error) {
    if (!NOT_ONES_OWN.has(error.code)) throw error;
    return null;
  }
}

export async function showOrders() {
  const { signedIn } = await requireCustomer(say("not_signed_in_why"));
  if (!signedIn) return { title: "", piece: fill("t-empty", { title: say("not_signed_in"), sentence: say("not_signed_in_why") }) };
  const first = await some(0);
  if (!first.orders.length) return { title: say("no_orders"), piece: fill("t-empty", { title: say("no_orders"), sentence: say("no_orders_why") }) };
  const piece = fill("t-orders");
  const rows = list(piece, "orders");
  const more = act(piece, "more", () => once(more, async () => show(await some(rows.children.length))));
  const show = ({ orders, total }) => {
    rows.append(...orders.map(row));
    more.hidden = rows.children.length >= total;
  };
  show(first);
  return { title: piece.querySelector("h1").textContent, piece };
}

const some = async (offset) => (await askAsCustomer(ORDERS, { offset, limit: PAGE })).findOrders;

function row(order) {
  const day = new Intl.DateTimeFormat(language, { dateStyle: "long" }).format(new Date(order.creationDate));
  const piece = fill("t-order", { number: order.orderNumber, day, total: order.totalAmount[0].displayValue });
  list(piece, "lines").append(...order.orderItems.map(line));
  return piece;
}

function line(each) {
  return fill("t-line", {
    what: `${each.quantity} × ${each.displayName}`,
    total: each.totalPrice.moneyAmounts[0].displayValue,
  });
}
