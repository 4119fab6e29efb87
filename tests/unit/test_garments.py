"""Which try-on category a product is of, told from its category path and its title."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookbook.garments import garment_category

# 194 real products, for tests that have them at hand.
PRODUCTS = Path(__file__).parents[3] / "shared" / "data" / "products.json"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        # The last noun is the thing.
        ("Dress Shirt", "upper"),
        ("Shirt Dress", "overall"),
        ("Suit Jacket", "upper"),
        ("Suit Pants", "lower"),
        ("Women's Tank Top", "upper"),
        ("Denim Jacket Men", "upper"),
        ("Jeans Women Boot Cut", "lower"),
        ("Tie Dye Hoodie", "upper"),
        ("Watch Print T-Shirt", "upper"),
        # Spellings.
        ("T-Shirt", "upper"),
        ("tshirts", "upper"),
        ("T SHIRT", "upper"),
        ("Tee", "upper"),
        ("Women’s Blouses", "upper"),  # noqa: RUF001 - the apostrophe shops write
        ("Sweat-pants", "lower"),
        ("Yoga Leggings", "lower"),
        ("Summer Shorts", "lower"),
        ("Jump Suit", "overall"),
        ("jumpsuits", "overall"),
        ("Evening Dresses", "overall"),
        # Sets.
        ("Two Piece Set Women", "overall"),
        ("2-piece set", "overall"),
        ("Crop Top and Skirt Set", "overall"),
        ("Set of 3 T-Shirts", "upper"),
        # What comes with it is not it.
        ("Casual Dress With Belt", "overall"),
        ("Hoodie for Women and Matching Shoes", "upper"),
        # Faint words count only where nothing better does.
        ("Men's Short Sleeve", "upper"),
        ("Dress Long Sleeve", "overall"),
        ("Turtleneck", "upper"),
        ("Dress Turtleneck", "overall"),
        ("Short Dress", "overall"),
    ],
)
def test_a_garment_is_told_by_its_title(title: str, expected: str) -> None:
    assert garment_category(title, "") == expected


@pytest.mark.parametrize(
    "title",
    [
        "dress shoes",
        "yoga pants bag",
        "Shirt Dress Bag",
        "Jeans Wallet",
        "Dress Watch",
        "Men's Dress Socks",
        "Swimsuit Hat",
        "Party Glasses",
        "Dress Shirt Tie",
        "Jewelry Set With Dress",
        "Phone Case",
        "Laptop",
        "Lap Top",
        "Desk Top Organizer",
        "Table Top",
        "High-Top Canvas",
        "Top Quality Honey",
        "Coat Hook",
        "Pants Hanger",
        "Sweater Shaver",
        "Tree Skirt",
        "Life Jacket",
        "Dog Hoodie",
        "Pet Clothes",
        "Sweater for Dogs",
        "Knife Two Piece Set",
        "Short",
        "Wooden Bathroom Sink",
        "",
        "🧥",
        "连衣裙",
    ],
)
def test_what_is_no_garment_is_none(title: str) -> None:
    assert garment_category(title, "") is None


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        # Portuguese and Spanish name the thing first.
        ("Vestido Camisa Feminino", "overall"),
        ("Camiseta para calça", "upper"),
        ("Jaqueta Jeans", "upper"),
        ("Calça Jeans Masculina", "lower"),
        ("Calções de Banho", "lower"),
        ("Saias plissadas", "lower"),
        ("Macacão Longo", "overall"),
        ("Macacões", "overall"),
        ("Moletom com Capuz", "upper"),
        ("Conjunto Blusa e Saia", "overall"),
        ("Pantalones vaqueros", "lower"),
        ("Pantalón de vestir", "lower"),
        ("Falda plisada", "lower"),
        ("Sudadera con capucha", "upper"),
        ("Chaqueta de cuero", "upper"),
        ("Traje de baño", "overall"),
        ("Bolsa para vestido", None),
        ("Sapato Social", None),
        ("Zapatos de vestir", None),
        ("Meias de algodão", None),
        ("Conjunto de Panelas", None),
    ],
)
def test_portuguese_and_spanish(title: str, expected: str | None) -> None:
    assert garment_category(title, "") == expected


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("Women's Clothing > Dresses", "overall"),
        ("Women's Clothing > Tops & Sets > Ladies Short Sleeve", "upper"),
        ("Men's Clothing/Bottoms/Man Jeans", "lower"),
        ("mens-shirts", "upper"),
        ("Hoodies & Sweatshirts", "upper"),
        ("Roupas > Calças de Moletom", "lower"),
        ("Ropa | Vestidos", "overall"),
        ("Sports > Yoga Pants > Yoga Bags", None),
        ("Bags & Shoes > Women's Shoes > Woman Sandals", None),
        ("Women's Clothing > Accessories", None),
        ("Tops", "upper"),  # broad, but the title says nothing
        ("Dresses & Skirts", "lower"),  # the last word
        ("Women's Clothing", None),
        ("Home, Garden & Furniture > Home Storage", None),
        (" > ", None),
    ],
)
def test_a_category_speaks_where_the_title_is_silent(category: str, expected: str | None) -> None:
    assert garment_category("Pampi 2026", category) == expected


def test_a_category_goes_before_the_title() -> None:
    # Given a title that alone would mislead, then the category decides
    assert garment_category("Corset With Black Skirt", "womens-dresses") == "overall"
    assert garment_category("Dress Pattern Jacket", "Pet Supplies > Pet Clothes") is None
    assert garment_category("Black Dress", "Jewelry & Watches") is None


def test_a_broad_category_asks_the_title() -> None:
    assert garment_category("Girl Summer Dress", "tops") == "overall"
    assert garment_category("Blue Dress", "Clothing, Shoes & Jewelry") == "overall"
    assert garment_category("Blue Heels", "Clothing, Shoes & Jewelry") is None
    assert garment_category("Long Skirt", "Tops & Skirts") == "lower"
    assert garment_category("Linen Shirt", "Dresses & Shirts") == "upper"


@given(st.text(), st.text())
def test_any_text_has_an_answer(title: str, category: str) -> None:
    assert garment_category(title, category) in {"upper", "lower", "overall", None}


@pytest.mark.skipif(not PRODUCTS.exists(), reason="the shared data is not beside this repository")
def test_real_products() -> None:
    # Given real products of 24 shop categories
    products: list[dict[str, Any]] = json.loads(PRODUCTS.read_text(encoding="utf-8"))
    wearable = {"mens-shirts": "upper", "tops": "overall", "womens-dresses": "overall"}  # "tops" holds five dresses

    # Then just those that can be tried on are garments, and of the right kind
    found = {product["id"]: garment_category(product["title"], product["category"]) for product in products}
    assert found == {product["id"]: wearable.get(product["category"]) for product in products}

    # And without their category none of the others is taken for one
    untold = [garment_category(product["title"], "") for product in products if product["category"] not in wearable]
    assert set(untold) == {None}
