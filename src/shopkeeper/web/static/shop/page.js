// The page: its words, its templates, and what it tells those who cannot see it.

const said = JSON.parse(document.getElementById("words-said").textContent);

export const base = said.base;
export const shopName = said.shop;
export const language = said.language;

/** A sentence of the page with its gaps filled: say("from", { price: "€3" }). */
export function say(name, gaps = {}) {
  return said.words[name].replace(/\{(\w+)\}/g, (whole, gap) => String(gaps[gap] ?? whole));
}

const SET = {
  text: (node, value) => { node.textContent = value; },
  href: (node, value) => { node.href = value; },
  src: (node, value) => { node.src = value; },
  alt: (node, value) => { node.alt = value; },
  value: (node, value) => { node.value = value; },
};

/** A copy of a template, filled. Values become text or attributes, never HTML. */
export function fill(id, values = {}) {
  const piece = document.getElementById(id).content.cloneNode(true);
  for (const [kind, set] of Object.entries(SET)) {
    for (const node of piece.querySelectorAll(`[data-${kind}]`)) {
      const value = values[node.dataset[kind]];
      if (value !== undefined && value !== null) set(node, value);
    }
  }
  return piece;
}

/** The place in a piece where a list goes. */
export const list = (piece, name) => piece.querySelector(`[data-list="${name}"]`);

/** What is done when a control of a piece is used. */
export function act(piece, name, what, event = "click") {
  const control = piece.querySelector(`[data-act="${name}"]`);
  control.addEventListener(event, what);
  return control;
}

/** Shows a problem where it belongs, or takes it away. */
export function tell(node, sentence) {
  node.textContent = sentence ?? "";
  node.hidden = !sentence;
}

/** Says something to screen readers without moving anything. */
export function announce(sentence) {
  const status = document.getElementById("status");
  status.textContent = "";
  requestAnimationFrame(() => { status.textContent = sentence; });
}

let leaving;

/** A short note at the edge of the page, with a link if there is somewhere to go. */
export function toast(sentence, link) {
  const note = document.getElementById("toast");
  const words = document.createElement("span");
  words.textContent = sentence;
  note.replaceChildren(words);
  if (link) note.append(Object.assign(document.createElement("a"), { href: link.href, textContent: link.text }));
  note.hidden = false;
  announce(sentence);
  clearTimeout(leaving);
  leaving = setTimeout(hush, 6000);
}

/** Takes the note away. */
export function hush() {
  document.getElementById("toast").hidden = true;
}

/** Keeps a control from being used twice at once. It stays focusable, so that nobody loses their place. */
export async function once(control, what) {
  if (control.getAttribute("aria-disabled") === "true") return undefined;
  control.setAttribute("aria-disabled", "true");
  try {
    return await what();
  } finally {
    control.removeAttribute("aria-disabled");
  }
}
