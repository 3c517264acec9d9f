"""The storefront's scripts against what they depend on: the schema, the page's templates, the page's texts."""

import json
import re
from importlib.resources import files

import pytest
from graphql import GraphQLSchema, build_schema, parse, validate

from shopkeeper.graphql.schema import print_schema
from shopkeeper.http.pages import read_demo
from shopkeeper.http.pages.shown_providers import ShownProviders
from shopkeeper.http.pages.templates import PageTemplates
from shopkeeper.languages.choice import LANGUAGES
from tests.http.pages.reading import Element, read

STATIC = files("shopkeeper") / "web" / "static"
MODULES = {
    "shop.js": (STATIC / "shop.js").read_text("utf-8"),
    **{entry.name: entry.read_text("utf-8") for entry in (STATIC / "shop").iterdir()},
}
SCRIPT = "\n".join(MODULES.values())
# Texts that a script finds by a computed name: the changes in the report of a cart merge.
CHANGES = {"limited_by_stock", "out_of_stock", "no_price_in_currency", "replaced", "left"}


def queries() -> dict[str, str]:
    """Return every text of `queries.js`, with the texts that it is put together from."""
    found = re.findall(r'const (\w+) = (?:"([^"]*)"|`([^`]*)`);', MODULES["queries.js"])
    texts: dict[str, str] = {}
    for name, plain, template in found:
        texts[name] = re.sub(r"\$\{(\w+)\}", lambda gap: texts[gap[1]], plain or template)
    return {name: text for name, text in texts.items() if text.startswith(("query", "mutation"))}


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(print_schema())


@pytest.fixture(scope="module")
def page() -> Element:
    place = {"base": "/b", "home": "https://x/b/", "static": "/b/static/x"}
    always = {
        **place,
        "shop_name": "Commerce",
        "dev": False,
        "recovery": True,
        "languages": (),
        "shown_providers": ShownProviders(),
    }
    nobody = {"signed_in": None, "sign_out_link": None, "csrf_token": "", "acting": False}
    return read(PageTemplates(always={**always, "demo": read_demo()}).render("shop", nobody, language="en"))


@pytest.mark.parametrize("name", queries())
def test_every_query_fits_the_schema(name: str, schema: GraphQLSchema) -> None:
    assert validate(schema, parse(queries()[name])) == []


def test_every_query_is_used() -> None:
    elsewhere = "\n".join(text for module, text in MODULES.items() if module != "queries.js")
    assert [name for name in queries() if not re.search(rf"\bask(AsCustomer)?\({name}\b|, {name}, ", elsewhere)] == []


def test_every_text_of_the_scripts_is_on_the_page_and_every_text_of_the_page_is_used(page: Element) -> None:
    translations = json.loads(page.one("script", id="words-said").inside[0])["words"]  # type: ignore[arg-type]
    said = set(re.findall(r'say\("(\w+)"', SCRIPT)) | set(re.findall(r'\? "(\w+)" : "\w+"', SCRIPT))
    said |= set(re.findall(r': "(signed_in)"', SCRIPT)) | CHANGES
    assert said == translations.keys()


def test_every_placeholder_is_filled_in_every_language() -> None:
    place = {"base": "", "home": "/", "static": "/s"}
    always = {
        **place,
        "shop_name": "Commerce",
        "dev": False,
        "recovery": True,
        "languages": (),
        "shown_providers": ShownProviders(),
        "demo": read_demo(),
    }
    nobody = {"signed_in": None, "sign_out_link": None, "csrf_token": "", "acting": False}
    templates, gaps = PageTemplates(always=always), {}
    for language in LANGUAGES:
        page = read(templates.render("shop", nobody, language=language))
        translations = json.loads(page.one("script", id="words-said").inside[0])["words"]  # type: ignore[arg-type]
        gaps[language] = {name: sorted(re.findall(r"\{\w+\}", translations[name])) for name in translations}
    assert all(gaps[language] == gaps["en"] for language in LANGUAGES)


def test_every_template_is_on_the_page_and_every_template_of_the_page_is_filled(page: Element) -> None:
    filled = set(re.findall(r'fill\("(t-[\w-]+)"', SCRIPT))
    assert filled == {template["id"] for template in page.all("template")}


def test_every_id_that_is_looked_for_is_on_the_page(page: Element) -> None:
    looked_for = set(re.findall(r'getElementById\("([\w-]+)"\)', SCRIPT)) | set(
        re.findall(r'querySelector\("#([\w-]+)"\)', SCRIPT)
    )
    assert looked_for <= {element["id"] for element in page.below() if element.has("id")}


@pytest.mark.parametrize(
    "forbidden",
    [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "document.write",
        "localStorage",
        "sessionStorage",
        "document.cookie",
    ],
)
def test_no_script_writes_html_or_stores_anything(forbidden: str) -> None:
    assert forbidden not in SCRIPT


def test_every_amount_that_is_shown_was_printed_by_the_server() -> None:
    assert "NumberFormat" not in SCRIPT
    assert not re.search(r"centAmount\s*[-+*/]|[-+*/]\s*\w+(\.\w+)*\.centAmount", SCRIPT)


def test_no_token_passes_through_a_script() -> None:
    assert not re.search(r"authorization|Bearer|X-Session-Token", SCRIPT, re.IGNORECASE)
