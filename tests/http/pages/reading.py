"""Parses a page as a browser does: its elements, its texts, its forms."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

NEVER_CLOSED = frozenset({"meta", "link", "input", "img", "br", "hr"})


@dataclass
class Element:
    """An element with its content."""

    tag: str
    attributes: Mapping[str, str]
    inside: "list[Element | str]" = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def get(self, name: str) -> str | None:
        return self.attributes.get(name)

    def has(self, name: str) -> bool:
        return name in self.attributes

    @property
    def text(self) -> str:
        translations = (inner if isinstance(inner, str) else inner.text for inner in self.inside)
        return " ".join(" ".join(translations).split())

    def all(self, tag: str, **attributes: str) -> "list[Element]":
        """Return every descendant with this tag and these attributes; an underscore stands for a dash."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [each for each in self.below() if each.tag == tag and wanted.items() <= dict(each.attributes).items()]

    def one(self, tag: str, **attributes: str) -> "Element":
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]

    def below(self) -> "Iterator[Element]":
        for inner in self.inside:
            if isinstance(inner, Element):
                yield inner
                yield from inner.below()

    def fields(self) -> dict[str, str]:
        """Return what a form would send if nothing were typed, without its buttons."""
        sent: dict[str, str] = {}
        for each in self.all("input"):
            unticked = each.get("type") in {"checkbox", "radio"} and not each.has("checked")
            if each.has("name") and not unticked:
                sent[each["name"]] = each.get("value") or ""
        for each in self.all("select"):
            chosen = [option for option in each.all("option") if option.has("selected")] or each.all("option")[:1]
            sent[each["name"]] = chosen[0].get("value") or ""
        return sent


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in NEVER_CLOSED:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if any(element.tag == tag for element in self.open[1:]):
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(html: str) -> Element:
    """Parse a page into elements."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.open[0]
