// The shelves: categories, lists of products, and one product to choose from.

import { ask, explain } from "./api.js";
import { act, announce, base, fill, list, once, say, tell, toast } from "./page.js";
import { ADD, BY_CATEGORY, BY_KEYWORD, CATEGORIES, PRODUCT } from "./queries.js";
import { setCart } from "./visitor.js";

const PAGE = 24;
const FEW = 5;
const FIRST_PAGE = 12;

let shelves = null;

/** All categories, asked for once. */
export async function categories() {
  shelves ??= (await ask(CATEGORIES)).findCategories;
  return shelves;
}

export async function showHome() {
  const known = await categories();
  const shown = await Promise.all(known.map((shelf) => ask(BY_CATEGORY, { category: shelf.id, limit: 2 })));
  const piece = fill("t-home");
  list(piece, "covers").append(...known.map(cover));
  list(piece, "items").append(...shown.flatMap(({ page }) => page.items).slice(0, FIRST_PAGE).map(item));
  return { title: "", piece };
}

export async function showCategory(slug) {
  const shelf = (await categories()).find((each) => each.slug === slug || each.id === slug);
  if (!shelf) return null;
  const piece = fill("t-list", { title: shelf.displayName, description: shelf.description });
  await listing(piece, BY_CATEGORY, { category: shelf.id });
  return { title: shelf.displayName, piece, shelf: shelf.slug };
}

export async function showAll() {
  const piece = fill("t-list", { title: say("all") });
  await listing(piece, BY_KEYWORD, { text: "" });
  return { title: say("all"), piece, shelf: "" };
}

export async function showSearch(text) {
  const title = say("found", { words: text });
  const piece = fill("t-list", { title });
  const total = await listing(piece, BY_KEYWORD, { text });
  announce(say("items_found", { count: total }));
  if (total === 0) {
    return { title, piece: fill("t-empty", { title: say("nothing_found"), sentence: say("nothing_found_why", { words: text }) }) };
  }
  return { title, piece };
}

/** Fills a list page and keeps it filled: sorting begins it anew, "more" goes on. */
async function listing(piece, query, variables) {
  const items = list(piece, "items");
  const more = act(piece, "more", () => once(more, () => load(items.children.length)));
  const sort = act(piece, "sort", () => load(0), "change");
  const onTop = document.createElement("p");
  onTop.className = "notice error";
  onTop.setAttribute("role", "alert");
  onTop.hidden = true;
  items.before(onTop);
  let asked = 0;

  async function fetchPage(offset) {
    const mine = ++asked;
    const { page } = await ask(query, { ...variables, offset, limit: PAGE, sort: sort.value || null });
    if (mine !== asked) return page.total;
    if (offset === 0) items.replaceChildren();
    items.append(...page.items.map(item));
    more.hidden = page.offset + page.count >= page.total;
    return page.total;
  }

  async function load(offset) {
    try {
      await fetchPage(offset);
      tell(onTop, null);
      items.children[offset]?.querySelector("a")?.focus({ preventScroll: offset === 0 });
    } catch (error) {
      tell(onTop, explain(error).sentence);
    }
  }

  return fetchPage(0);
}

function cover(shelf) {
  return fill("t-cover", { href: `#/category/${shelf.slug}`, name: shelf.displayName, description: shelf.description });
}

function item(each) {
  const [now] = each.purchasePrice.moneyAmounts;
  const [least, most] = each.salePriceRange;
  return fill("t-item", {
    href: `#/product/${each.slug}`,
    name: each.displayName,
    picture: picture(each.imageSet?.thumbnail),
    price: least === most ? now.displayValue : say("from", { price: now.displayValue }),
    was: least === most ? was(each) : "",
  });
}

/** A picture's address; where there is none, the shop's sign. */
export function picture(image) {
  return image?.link.href ?? `${base}/shop/mark.svg`;
}

/** The price without reductions as the server prints it, where it is another one. */
export function was({ purchasePrice, listPrice }) {
  const [now] = purchasePrice.moneyAmounts;
  const [before] = listPrice.moneyAmounts;
  return before.centAmount > now.centAmount ? before.displayValue : "";
}

export async function showProduct(slug) {
  const { item: product } = await ask(PRODUCT, { slug });
  if (!product) return null;
  const piece = fill("t-product", {
    name: product.displayName,
    description: product.description,
    picture: picture(product.imageSet?.original),
    alt: product.imageSet?.original.alt ?? "",
  });
  const [shelf] = product.categories;
  if (shelf) list(piece, "crumbs").append(fill("t-crumb", { href: `#/category/${shelf.slug}`, name: shelf.displayName }));
  list(piece, "details").append(...product.customAttrs.map(({ name, values }) => fill("t-detail", { name, value: values.join(", ") })));
  choosing(piece, product);
  return { title: product.displayName, piece, shelf: shelf?.slug };
}

function choosing(piece, product) {
  const form = piece.querySelector("#choose");
  const variants = list(piece, "variants");
  const places = { price: piece.querySelector(".price span"), was: piece.querySelector(".was"), stock: piece.querySelector("#stock") };
  variants.append(...product.variants.map((variant) => variantChoice(variant, product)));
  const first = product.variants.findIndex((variant) => variant.availability.availableQuantity > 0);
  const radios = [...variants.querySelectorAll("input")];
  radios[Math.max(0, first)].checked = true;
  variants.hidden = product.variants.length === 1;

  const chosen = () => product.variants[radios.findIndex((radio) => radio.checked)];
  const show = () => {
    const variant = chosen();
    const left = variant.availability.availableQuantity;
    places.price.textContent = variant.purchasePrice.moneyAmounts[0].displayValue;
    places.was.textContent = was(variant);
    places.stock.textContent = stock(left);
    form.querySelector("[type=submit]").disabled = left === 0;
  };
  variants.addEventListener("change", show);
  show();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    once(form.querySelector("[type=submit]"), () => add(form, chosen()));
  });
}

function variantChoice(variant, product) {
  const own = variant.displayName.startsWith(`${product.displayName}, `)
    ? variant.displayName.slice(product.displayName.length + 2)
    : variant.displayName;
  const left = variant.availability.availableQuantity;
  const note = [variant.purchasePrice.moneyAmounts[0].displayValue, left === 0 ? say("sold_out") : ""];
  return fill("t-variant", { id: variant.itemId.id, name: own, note: note.filter(Boolean).join(" · ") });
}

function stock(left) {
  if (left === 0) return say("sold_out");
  return left <= FEW ? say("few_left", { count: left }) : say("in_stock");
}

async function add(form, variant) {
  const problem = form.querySelector("#buy-problem");
  try {
    const quantity = Number(form.querySelector("#quantity").value);
    const { addToCart } = await ask(ADD, { input: { itemId: variant.itemId.id, quantity } });
    setCart(addToCart.cart);
    tell(problem, null);
    toast(say("added", { name: variant.displayName }), { href: "#/cart", text: say("see_cart") });
  } catch (error) {
    tell(problem, explain(error).sentence || say("adding_failed"));
  }
}
