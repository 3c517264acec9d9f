// What is wrong with the page that is open, for those who cannot see it or cannot use a mouse. A list of sentences.

() => {
  const said = (id) => document.getElementById(id)?.textContent ?? "";
  const name = (node) =>
    (node.getAttribute("aria-label") ?? "").trim() ||
    [...(node.labels ?? [])].map((label) => label.textContent.trim()).join(" ") ||
    (node.getAttribute("aria-labelledby") ?? "").split(" ").map(said).join(" ").trim();
  const shown = (selector) =>
    [...document.querySelectorAll(selector)].filter((node) => node.checkVisibility({ visibilityProperty: true }));
  const words = (node) => name(node) || node.textContent.trim() || node.querySelector("img[alt]:not([alt=''])");

  const faults = [];
  const when = (wrong, sentence) => wrong && faults.push(sentence);
  when(!document.documentElement.lang, "The page does not say its language.");
  when(!document.title.trim(), "The page has no title.");
  when(shown("h1").length !== 1, `There are ${shown("h1").length} first headings.`);
  when(shown("main").length !== 1, `There are ${shown("main").length} main parts.`);

  const levels = shown("h1, h2, h3, h4").map((node) => Number(node.tagName[1]));
  levels.forEach((level, at) => when(at && level > levels[at - 1] + 1, `A heading ${level} follows a ${levels[at - 1]}.`));
  for (const node of shown("input:not([type=hidden]), select, textarea")) {
    when(!name(node), `No label: ${node.outerHTML}`);
  }
  for (const node of shown("button, a[href], summary")) when(!words(node), `No name: ${node.outerHTML}`);
  for (const node of shown("img")) when(!node.hasAttribute("alt"), `No words for a picture: ${node.outerHTML}`);
  for (const node of shown("iframe")) when(!node.title, `No title: ${node.outerHTML}`);
  for (const node of shown("[tabindex]")) when(node.tabIndex > 0, `Out of order: ${node.outerHTML}`);

  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  ids.forEach((id, at) => when(ids.indexOf(id) !== at, `The id ${id} is there twice.`));

  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > room) {
    const wide = [...document.body.querySelectorAll("*")].filter((node) => node.getBoundingClientRect().right > room + 1);
    wide.forEach((node) => faults.push(`Wider than the screen: ${node.outerHTML.slice(0, 200)}`));
  }
  return faults;
}
