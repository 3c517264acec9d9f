// The demo shop: it knows nothing but the public API. This file is the way through it: addresses, header, first moments.

import { explain } from "./shop/api.js";
import { showCart } from "./shop/cart.js";
import { categories, showAll, showCategory, showHome, showProduct, showSearch } from "./shop/catalogue.js";
import { goodbye, invite, openSignIn, openSignUp, requireCustomer, start } from "./shop/dialogs.js";
import { showCheckout, showOrders, showThanks } from "./shop/orders.js";
import { act, announce, fill, hush, say, shopName, toast } from "./shop/page.js";
import { onChange, onEnd, refreshQuietly, visitor } from "./shop/visitor.js";

const SEARCH = /^\/search\/(.+)$/;
const ROUTES = [
  [/^\/?$/, showHome],
  [/^\/all$/, showAll],
  [/^\/category\/([^/]+)$/, showCategory],
  [SEARCH, showSearch],
  [/^\/product\/([^/]+)$/, showProduct],
  [/^\/cart$/, showCart],
  [/^\/checkout$/, showCheckout],
  [/^\/orders$/, showOrders],
  [/^\/thanks\/([^/]+)$/, showThanks],
];

const view = document.getElementById("view");
const home = document.title;
const PATIENCE = 250;
const FRESH_FOR = 5000;

let turn = 0;
let known = null;

/** Shows what the address says. The last one asked for wins, whatever order the answers come in. */
async function show({ first = false } = {}) {
  const mine = ++turn;
  const slow = setTimeout(() => { if (mine === turn) view.replaceChildren(fill("t-loading")); }, first ? 0 : PATIENCE);
  const shown = await page().catch(failed);
  clearTimeout(slow);
  if (mine !== turn) return;
  if (shown.instead) {
    location.replace(shown.instead);
    return;
  }
  view.replaceChildren(shown.piece);
  document.title = shown.title ? `${shown.title} · ${shopName}` : home;
  current(shown.shelf);
  if (!first) arrive();
}

async function page() {
  const path = location.hash.slice(1);
  for (const [pattern, shower] of ROUTES) {
    const found = pattern.exec(path);
    if (found) return (await shower(...found.slice(1).map(decode))) ?? nothing();
  }
  return nothing();
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function nothing() {
  return { title: say("no_such_page"), piece: fill("t-empty", { title: say("no_such_page"), sentence: say("no_such_page_why") }) };
}

function failed(error) {
  const { title, sentence } = explain(error);
  const piece = fill("t-failed", { title, sentence });
  act(piece, "again", () => begin({ first: false }));
  return { title, piece };
}

/** A new page begins at its top, for eyes and for screen readers. */
function arrive() {
  const heading = view.querySelector("h1");
  if (!heading) return;
  if (!document.getElementById("report-title")) {
    window.scrollTo(0, 0);
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  announce(say("loaded", { title: heading.textContent }));
}

function current(shelf) {
  for (const link of document.querySelectorAll("#shelves a")) {
    if (link.dataset.shelf === shelf) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function header() {
  const { customer, cart } = visitor;
  for (const entry of document.querySelectorAll("#account [data-for]")) {
    entry.hidden = (entry.dataset.for === "customer") !== Boolean(customer);
  }
  const count = document.getElementById("count");
  count.textContent = cart?.totalQuantity ?? "";
  count.hidden = !cart?.totalQuantity;
  if (customer) document.getElementById("ended")?.remove();
}

/** Stays until somebody is signed in again or has read it: what was in the cart has gone from sight with the session. */
function ended() {
  const piece = fill("t-ended", { sentence: say("session_ended") });
  act(piece, "sign-in", goOn);
  act(piece, "dismiss", () => {
    document.getElementById("ended").remove();
    document.getElementById("main").focus();
  });
  const news = document.getElementById("news");
  news.replaceChildren(piece);
  news.scrollIntoView({ block: "nearest" });
}

async function goOn() {
  const { signedIn } = await requireCustomer(say("session_ended"));
  if (signedIn) await show();
}

/** Whoever signs in while the cart is on the page sees it as it is now, merged with what was in their own. */
async function enterHere(open) {
  const { signedIn } = await invite(open);
  if (signedIn && location.hash === "#/cart") await show();
}

/** The search box holds what is searched for, and nothing on any other page. */
function searched() {
  const words = SEARCH.exec(location.hash.slice(1))?.[1] ?? "";
  document.getElementById("words").value = decode(words);
}

async function shelves() {
  const nav = document.getElementById("shelves");
  if (!nav.hidden) return;
  const entries = [{ slug: "", displayName: say("all") }, ...(await categories())];
  nav.querySelector("ul").replaceChildren(...entries.map(shelfLink));
  nav.hidden = false;
}

function shelfLink({ slug, displayName }) {
  const piece = fill("t-crumb", { href: slug ? `#/category/${slug}` : "#/all", name: displayName });
  piece.querySelector("a").dataset.shelf = slug;
  return piece;
}

function lookAgain() {
  known = Date.now();
  return refreshQuietly();
}

/** Somebody may have signed in or out in another tab meanwhile. */
async function comeBack() {
  const { customer } = visitor;
  await lookAgain();
  if (customer && !visitor.customer && location.hash === "#/cart") await show();
}

/** First who is shopping, so that a stranger is greeted once and not once for each question; then everything else. */
async function begin({ first }) {
  view.replaceChildren(fill("t-loading"));
  await lookAgain();
  await Promise.allSettled([shelves(), show({ first })]);
}

function wire() {
  const search = document.getElementById("search");
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = search.elements.words.value.trim();
    location.hash = words ? `#/search/${encodeURIComponent(words)}` : "#/all";
  });
  const account = document.getElementById("account");
  if (document.getElementById("sign-in")) {
    act(account, "sign-in", () => enterHere(openSignIn));
    act(account, "sign-up", () => enterHere(openSignUp));
  }
  act(account, "sign-out", async () => {
    try {
      await goodbye();
      if (location.hash === "#/" || !location.hash) await show();
      else location.hash = "#/";
    } catch (error) {
      toast(explain(error).sentence);
    }
  });
  // The language changes, the shelf stays.
  for (const link of document.querySelectorAll("footer a[hreflang]")) {
    link.addEventListener("click", () => (link.hash = location.hash));
  }
  onChange(header);
  onEnd(ended);
  start();
  search.hidden = false;
  account.hidden = false;
  header();
  searched();
}

window.addEventListener("hashchange", () => {
  // The skip link's "#main" is a place on the page, not a page.
  if (location.hash && !location.hash.startsWith("#/")) return;
  hush();
  searched();
  show();
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && Date.now() - known > FRESH_FOR) comeBack();
});
// What nobody else has told is told here: a click is never answered with silence.
window.addEventListener("unhandledrejection", ({ reason }) => toast(explain(reason).sentence));

wire();
begin({ first: true });
