"""Which product of a shop one of ours is: by SKU, then barcode, then handle; never one of several."""

from __future__ import annotations

import pytest

from lookbook.match import Pairing, handle_of
from lookbook.shopify import Variant


def variant(number: int, handle: str = "", sku: str = "", barcode: str = "") -> Variant:
    return Variant(f"gid://shopify/Product/{number}", handle or f"handle-{number}", f"Product {number}", sku, barcode)


def paired(titles: dict[str, str], *variants: Variant) -> tuple[dict[str, tuple[str, str]], int]:
    pairing = Pairing(titles, held={"gid://shopify/Product/77"})
    pairing.add(variants)
    found = pairing.pairs()
    told = {ours: (each.rpartition("/")[2], way) for ours, (each, _, way) in found.items()}
    return told, len(pairing.candidates) - len(found)


def test_a_product_is_found_by_what_both_sides_have() -> None:
    titles = {"CJ1": "Shirt", "CJ2": "Dress", "CJ3": "Red Skirt", "cj-4": "Hat", "CJ5": "Coat"}
    found, ambiguous = paired(
        titles,
        variant(1, sku="cj1"),
        variant(2, barcode="CJ2"),
        variant(3, handle="red-skirt"),
        variant(4, handle="cj-4"),
        variant(6, handle="gloves"),
    )
    assert found == {"CJ1": ("1", "sku"), "CJ2": ("2", "barcode"), "CJ3": ("3", "handle"), "cj-4": ("4", "handle")}
    assert ambiguous == 0


def test_a_sku_says_more_than_a_handle() -> None:
    found, _ = paired({"CJ1": "Shirt"}, variant(1, handle="shirt"), variant(2, sku="CJ1"))
    assert found == {"CJ1": ("2", "sku")}


@pytest.mark.parametrize("sku", ["CJDS2337796", "CJDS2337796-Black-M", "CJDS233779601AZ", "cjds2337796-XL"])
def test_a_variants_sku_says_which_product_it_is_of(sku: str) -> None:
    assert paired({"CJDS2337796": "Shirt"}, variant(1, sku=sku))[0] == {"CJDS2337796": ("1", "sku")}


def test_a_product_of_the_shop_that_is_mapped_already_is_left_alone() -> None:
    assert paired({"CJ1": "Shirt"}, variant(77, sku="CJ1")) == ({}, 0)


def test_several_variants_of_one_product_are_one_match() -> None:
    found, ambiguous = paired({"CJ1": "Shirt"}, variant(1, sku="CJ1"), variant(1, sku="CJ1"))
    assert (found, ambiguous) == ({"CJ1": ("1", "sku")}, 0)


def test_what_could_be_two_products_is_not_guessed() -> None:
    assert paired({"CJ1": "Shirt"}, variant(1, sku="CJ1"), variant(2, sku="CJ1")) == ({}, 1)
    assert paired({"CJ1": "Shirt", "CJ2": "Shirt"}, variant(1, handle="shirt")) == ({}, 2)


@pytest.mark.parametrize(
    ("title", "handle"),
    [
        ("Floral Wrap Midi Dress", "floral-wrap-midi-dress"),
        ("Women's T-Shirt (2 pcs.)", "womens-t-shirt-2-pcs"),
        ("Fotografía de Producto", "fotografia-de-producto"),
    ],
)
def test_a_handle_is_what_shopify_makes_of_a_title(title: str, handle: str) -> None:
    assert handle_of(title) == handle
