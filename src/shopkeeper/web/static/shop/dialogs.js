// Signing in and signing up without leaving the shelf, and the report of what could not come along.

import { ask, explain } from "./api.js";
import { act, fill, hush, list, once, say, tell, toast } from "./page.js";
import { enter, leave, refresh, register, visitor } from "./visitor.js";

const signIn = document.getElementById("sign-in");
const signUp = document.getElementById("sign-up");

let waiting = null;

/** Asks for a sign-in if there is need. Answers whether somebody is signed in, and whether all of the cart came along. */
export function requireCustomer(why) {
  if (visitor.customer) return Promise.resolve({ signedIn: true, whole: true });
  return signIn ? invite(() => openSignIn(why)) : leaveForSignIn();
}

/** Goes to the store's own page to sign in. Without dialogs, the store takes no passwords here. */
function leaveForSignIn() {
  const way = document.querySelector('#account [data-way="sign-in"]');
  if (way) location.assign(way.href);
  else toast(say("sign_in_elsewhere"));
  return Promise.resolve({ signedIn: false, whole: true });
}

/** Opens a dialog, and answers as `requireCustomer` once it is done. */
export function invite(open) {
  open();
  return new Promise((settle) => { waiting = settle; });
}

/** Asks for what only customers get. Whose session has ended meanwhile signs in again, and then it is asked once more. */
export async function askAsCustomer(query, variables) {
  try {
    return await ask(query, variables);
  } catch (error) {
    if (error.code !== "UNAUTHENTICATED") throw error;
    await refresh();
    const { signedIn } = await requireCustomer(say("session_ended"));
    if (!signedIn) throw error;
  }
  return ask(query, variables);
}

function settle(result) {
  waiting?.(result);
  waiting = null;
}

export function openSignIn(why) {
  signUp.close();
  tell(signIn.querySelector('[data-slot="why"]'), why ?? aboutTheCart());
  open(signIn);
}

const aboutTheCart = () => (visitor.cart?.totalQuantity ? say("cart_stays") : null);

export function openSignUp() {
  signIn.close("on");
  tell(signUp.querySelector('[data-slot="why"]'), aboutTheCart());
  open(signUp);
}

function open(dialog) {
  hush();
  problem(dialog, null);
  mark(dialog, []);
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("input").focus();
}

/** Wires both dialogs, where the store has them. */
export function start() {
  if (!signIn) return;
  for (const dialog of [signIn, signUp]) {
    act(dialog, "close", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.querySelector("[type=password]").value = "";
      if (!dialog.returnValue && !signIn.open && !signUp.open) settle({ signedIn: false, whole: true });
    });
  }
  act(signIn, "sign-up", openSignUp);
  act(signUp, "sign-in", () => { signUp.close("on"); openSignIn(); });
  submits(signIn, trySignIn);
  submits(signUp, trySignUp);
}

function submits(dialog, what) {
  const form = dialog.querySelector("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    once(form.querySelector("[type=submit]"), async () => {
      try {
        await what(Object.fromEntries(new FormData(form)));
      } catch (error) {
        problem(dialog, explain(error).sentence);
      }
    });
  });
}

async function trySignIn({ username, password }) {
  if (!username.trim() || !password) {
    problem(signIn, say("need_both"));
    return;
  }
  const { hadCart, lost } = await enter({ username: username.trim(), password });
  welcome(signIn, lost, say(hadCart ? "signed_in_cart" : "signed_in"));
}

async function trySignUp(fields) {
  const problems = [...missing(fields), ...(missing(fields).length ? [] : await register(given(fields)))];
  mark(signUp, problems);
  if (problems.length) return;
  try {
    const { lost } = await enter({ username: fields.email.trim(), password: fields.password });
    welcome(signUp, lost, say("signed_up"));
  } catch (error) {
    // Whether an address is taken is told to nobody; whoever owns it has had a mail.
    problem(signUp, error.code === "UNAUTHENTICATED" ? say("sign_up_then_in") : explain(error).sentence);
  }
}

function missing({ email, password }) {
  return [
    ...(email.trim() ? [] : [{ field: "email", message: say("need_email") }]),
    ...(password ? [] : [{ field: "password", message: say("need_password") }]),
  ];
}

function given(fields) {
  const typed = Object.entries(fields).map(([name, value]) => [name, name === "password" ? value : value.trim()]);
  return Object.fromEntries(typed.filter(([, value]) => value));
}

/** Puts each problem at its field and goes to the first; what belongs to no field stands on top. */
function mark(dialog, problems) {
  for (const place of dialog.querySelectorAll("[data-problem]")) {
    const own = problems.filter((each) => each.field === place.dataset.problem);
    const input = dialog.querySelector(`input[name="${place.dataset.problem}"]`);
    tell(place, own.map((each) => each.message).join(" "));
    input.toggleAttribute("aria-invalid", own.length > 0);
    if (own.length) input.setAttribute("aria-describedby", place.id);
    else input.removeAttribute("aria-describedby");
    place.parentElement.classList.toggle("wrong", own.length > 0);
  }
  const elsewhere = problems.filter((each) => !dialog.querySelector(`[data-problem="${each.field}"]`));
  problem(dialog, elsewhere.map((each) => each.message).join(" "));
  dialog.querySelector("[aria-invalid]")?.focus();
}

function problem(dialog, sentence) {
  const place = dialog.querySelector('[data-slot="problem"]');
  tell(place, sentence);
  if (sentence) place.focus();
}

function welcome(dialog, lost, sentence) {
  dialog.close("done");
  dialog.querySelector("form").reset();
  if (lost.length) report(lost);
  else toast(sentence);
  settle({ signedIn: true, whole: lost.length === 0 });
}

/** Tells line by line what could not be taken over. Nothing is dropped in silence. */
function report(lines) {
  const piece = fill("t-report");
  list(piece, "lines").append(...lines.map((line) => fill("t-reported", { name: line.name, what: fate(line) })));
  const news = document.getElementById("news");
  act(piece, "dismiss", () => {
    news.replaceChildren();
    document.getElementById("main").focus();
  });
  news.replaceChildren(piece);
  document.getElementById("report-title").focus();
}

function fate(line) {
  // Sold out, but some were in the customer's own cart already: those are still there.
  return say(line.change === "out_of_stock" && line.after > 0 ? "limited_by_stock" : line.change, line);
}

export async function goodbye() {
  await leave();
  document.getElementById("news").replaceChildren();
  toast(say("signed_out"));
}
