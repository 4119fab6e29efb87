"""Scrapes for the demo and the benchmarks: garments as a supplier lists them, pictures on the local picture host."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

TOPS = "Women's Clothing > Tops & Sets"
DRESSES = "Women's Clothing > Dresses"
BOTTOMS = "Women's Clothing > Bottoms"
OUTERWEAR = "Women's Clothing > Outerwear & Jackets"
MEN = "Men's Clothing > Tops"
MEN_BOTTOMS = "Men's Clothing > Bottoms"

GARMENTS: list[tuple[str, str]] = [
    ("Floral Wrap Midi Dress", DRESSES),
    ("Classic White Oxford Shirt", MEN),
    ("Navy Striped Breton T-Shirt", TOPS),
    ("Black Pleated Midi Skirt", BOTTOMS),
    ("Oversized Grey Hoodie", MEN),
    ("High Waist Blue Straight Jeans", BOTTOMS),
    ("Red Polka Dot Summer Dress", DRESSES),
    ("Camel Wool Blend Coat", OUTERWEAR),
    ("Emerald Green Satin Blouse", TOPS),
    ("Beige Linen Wide Leg Trousers", BOTTOMS),
    ("Plaid Flannel Shirt Red", MEN),
    ("Ribbed Knit Turtleneck Sweater Cream", TOPS),
    ("Pink Tiered Maxi Dress", DRESSES),
    ("Olive Cargo Shorts", MEN_BOTTOMS),
    ("Lilac Cropped Cardigan Sweater", TOPS),
    ("Denim Trucker Jacket", OUTERWEAR),
    ("Yellow Smocked Sundress", DRESSES),
    ("Burgundy Corduroy Skirt", BOTTOMS),
    ("Heather Blue Crewneck T-Shirt", MEN),
    ("Black Faux Leather Biker Jacket", OUTERWEAR),
    ("Teal Sleeveless Jumpsuit", DRESSES),
    ("Checked Tapered Trousers Brown", MEN_BOTTOMS),
    ("Rust Orange Knit Sweater", TOPS),
    ("White Broderie Cotton Blouse", TOPS),
    ("Purple Velvet Evening Dress", DRESSES),
    ("Charcoal Slim Fit Chinos Trousers", MEN_BOTTOMS),
    ("Mint Green Polo Shirt", MEN),
    ("Striped Paperbag Shorts Navy", BOTTOMS),
    ("Coral Puff Sleeve Blouse", TOPS),
    ("Khaki Utility Jumpsuit", DRESSES),
    ("Sky Blue Chambray Shirt", MEN),
    ("Leopard Print Midi Skirt", BOTTOMS),
    ("Forest Green Zip Hoodie", MEN),
    ("Ivory Cable Knit Sweater", TOPS),
    ("Floral Chiffon Skirt Blue", BOTTOMS),
    ("Mustard Corduroy Jacket", OUTERWEAR),
    ("Black Slip Dress", DRESSES),
    ("Pinstripe Office Trousers Grey", BOTTOMS),
    ("Raspberry Wrap Blouse", TOPS),
    ("Indigo Bootcut Jeans", BOTTOMS),
    ("Terracotta Linen Shirt", MEN),
    ("Polka Dot Tea Dress Navy", DRESSES),
    ("Sage Green Trench Coat", OUTERWEAR),
    ("Colour Block Sweatshirt Teal", MEN),
    ("White Tennis Skirt", BOTTOMS),
    ("Hawaiian Floral Shirt Turquoise", MEN),
    ("Plum Knit Midi Dress", DRESSES),
    ("Stone Washed Denim Shorts", BOTTOMS),
]

# Products that nobody wears and that have no picture: they get a cover from their title.
COURSES = [
    ("hotmart:698441", "Confeitaria Artesanal em Casa"),
    ("hotmart:712093", "Yoga para Iniciantes"),
    ("hotmart:745510", "Fotografía de Producto con el Móvil"),
]


def garment(number: int) -> tuple[str, str]:
    """Return title and category of the supplier's product number such-and-such; after the list, new editions of it."""
    title, category = GARMENTS[number % len(GARMENTS)]
    edition = number // len(GARMENTS)
    return (f"{title} No. {edition + 1}" if edition else title), category


def product_id(number: int) -> str:
    """Return a 19-digit id such as CJ's, larger than a float holds exactly."""
    return str(1_729_000_000_000_000_000 + number * 7919)


def picture_url(pictures_url: str, number: int) -> str:
    title, _ = garment(number)
    slug = title.lower().replace("'", "").replace(".", "").replace(" ", "-")
    return f"{pictures_url}/products/{quote(slug)}-{number}.jpg?title={quote(title)}"


def cj_scrape(pictures_url: str, numbers: range) -> dict[str, Any]:
    """Return products as CJ's `/product/list` answers them, odd fields and all."""
    products = []
    for number in numbers:
        title, category = garment(number)
        products.append(
            {
                "pid": product_id(number),
                "productSku": f"CJYD{3_170_000 + number}",
                "productNameEn": title,
                "productImage": picture_url(pictures_url, number),
                "categoryName": category,
                "sellPrice": f"{4 + number % 9}.49 -- {8 + number % 9}.99",
                "createTime": 1_790_000_000_000 + number,
            }
        )
    data = {"pageNum": 1, "pageSize": len(products), "total": len(products), "list": products}
    return {"code": 200, "result": True, "message": "Success", "data": data}


def courses() -> list[dict[str, Any]]:
    """Return the courses as a scrape's products."""
    return [{"product_id": product_id, "title": title, "category": "Education"} for product_id, title in COURSES]


def plain_scrape(pictures_url: str, numbers: range) -> list[dict[str, Any]]:
    """Return the same products as another scraper writes them."""
    products = []
    for number in numbers:
        title, category = garment(number)
        products.append(
            {
                "cj_product_id": product_id(number),
                "title": title,
                "category": category,
                "images": [picture_url(pictures_url, number)],
                "price": 5.99 + number % 9,
            }
        )
    return products
