"""The demo shop's data: complete, consistent, and safe to show."""

import dataclasses
import re
from collections import Counter
from importlib.resources import files
from xml.etree import ElementTree

import pytest
import yaml

from shopkeeper.commerce.embedded import demo
from shopkeeper.commerce.embedded.demo import DemoCategory, DemoProduct, DemoShop, DemoVariant

CATALOGUE = demo.read_catalogue()
PICTURES = demo.read_pictures()
DRAWINGS = {**PICTURES, "mark": demo.read_mark()}
VARIANTS = [variant for product in CATALOGUE.products for variant in product.variants]

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SKU = re.compile(r"QK-[A-Z]+-[0-9A-Z]+(-[A-Z]+)?")
SVG = "{http://www.w3.org/2000/svg}"
SHAPES = {"svg", "title", "g", "clipPath", "path", "rect", "circle", "ellipse"}
# How far a price may lie from its euro figure before it counts as mistyped.
PLAUSIBLE = {"EUR": (1.0, 1.0), "USD": (1.02, 1.25), "GBP": (0.78, 0.98)}

each_product = pytest.mark.parametrize("product", CATALOGUE.products, ids=lambda product: product.id)
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.sku)
each_drawing = pytest.mark.parametrize("name", sorted(DRAWINGS))


def raw(name):
    return yaml.safe_load(files(demo).joinpath(name).read_text("utf-8"))


def names(kind):
    return {one.name for one in dataclasses.fields(kind)}


class TestShop:
    def test_is_large_enough_to_browse(self):
        assert len(CATALOGUE.categories) == 6
        assert len(CATALOGUE.products) >= 66

    def test_fills_every_category(self):
        per_shelf = Counter(product.category for product in CATALOGUE.products)
        assert set(per_shelf) == {category.id for category in CATALOGUE.categories}
        assert min(per_shelf.values()) >= 11

    def test_gives_ids_and_skus_once(self):
        for ids in (
            [category.id for category in CATALOGUE.categories],
            [product.id for product in CATALOGUE.products],
            [product.name for product in CATALOGUE.products],
            [variant.sku for variant in VARIANTS],
        ):
            assert [value for value, times in Counter(ids).items() if times > 1] == []

    def test_names_a_cover_from_its_own_category(self):
        shelf = {product.id: product.category for product in CATALOGUE.products}
        assert {category.cover: category.id for category in CATALOGUE.categories}.items() <= shelf.items()

    def test_has_something_sold_out_something_scarce_and_something_on_sale(self):
        assert sum(variant.stock == 0 for variant in VARIANTS) >= 3
        assert sum(0 < variant.stock <= 4 for variant in VARIANTS) >= 3
        assert sum(variant.list_price is not None for variant in VARIANTS) >= 3

    def test_has_no_field_the_reader_does_not_know(self):
        assert set(raw("shop.yaml")) == names(DemoShop)
        for category in raw("categories.yaml"):
            assert set(category) == names(DemoCategory)
            for product in raw(f"products/{category['id']}.yaml"):
                assert set(product) == names(DemoProduct)
                assert all(set(variant) <= names(DemoVariant) for variant in product["variants"])


class TestProduct:
    @each_product
    def test_says_what_a_shop_would_print(self, product):
        assert SLUG.fullmatch(product.id)
        assert 3 <= len(product.name) <= 40
        assert 60 <= len(product.description) <= 260
        assert product.description.endswith(".")
        assert 3 <= len(set(product.keywords)) == len(product.keywords) <= 6
        assert {"maker"} < set(product.attributes)

    @each_product
    def test_comes_in_one_to_four_variants_told_apart_by_name(self, product):
        assert 1 <= len(product.variants) <= 4
        assert len({variant.name for variant in product.variants}) == len(product.variants)

    @each_product
    def test_gives_each_variant_something_to_choose_it_by(self, product):
        assert all(variant.attributes for variant in product.variants)
        assert all(
            value.strip() == value != "" for variant in product.variants for value in variant.attributes.values()
        )


class TestVariant:
    @each_variant
    def test_has_a_sku_a_stock_and_a_weight(self, variant):
        assert SKU.fullmatch(variant.sku)
        assert variant.stock >= 0
        assert 10 <= variant.weight <= 20_000

    @each_variant
    def test_has_a_plausible_price_in_every_currency(self, variant):
        assert tuple(variant.price) == CATALOGUE.shop.currencies
        assert 100 <= variant.price["EUR"] <= 50_000
        for currency, (lowest, highest) in PLAUSIBLE.items():
            assert type(variant.price[currency]) is int
            assert lowest <= variant.price[currency] / variant.price["EUR"] <= highest

    @each_variant
    def test_is_cheaper_on_sale(self, variant):
        before = variant.list_price or {currency: price + 1 for currency, price in variant.price.items()}
        assert tuple(before) == tuple(variant.price)
        assert all(before[currency] > price for currency, price in variant.price.items())


class TestPicture:
    def test_exists_for_each_product_and_for_nothing_else(self):
        assert set(PICTURES) == {product.id for product in CATALOGUE.products}

    def test_is_drawn_for_one_product_only(self):
        bodies = [re.sub(rb"<title.*</title>", b"", svg).replace(name.encode(), b"") for name, svg in PICTURES.items()]
        assert len(set(bodies)) == len(bodies)

    @each_product
    def test_says_in_words_what_it_shows(self, product):
        title = ElementTree.fromstring(PICTURES[product.id]).find(f"{SVG}title")
        assert title.text == product.alt

    @each_drawing
    def test_is_an_accessible_image_of_modest_size(self, name):
        root = ElementTree.fromstring(DRAWINGS[name])
        assert len(DRAWINGS[name]) < 6_000
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == root.find(f"{SVG}title").get("id") == f"{name}-title"

    @each_drawing
    def test_holds_shapes_only_no_scripts_styles_or_references(self, name):
        assert not re.search(rb"<!|<\?(?!xml )", DRAWINGS[name])
        for element in ElementTree.fromstring(DRAWINGS[name]).iter():
            assert element.tag.removeprefix(SVG) in SHAPES
            for attribute, value in element.items():
                assert not re.match(r"on|style|\{|href|src", attribute)
                assert "url(" not in value or re.fullmatch(rf"url\(#{name}-\d+\)", value)
                assert ":" not in value
