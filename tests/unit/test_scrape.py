"""Every shape a scrape may have, every odd field, and every way a file can be broken."""

import codecs
import gzip
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookbook import scrape
from lookbook.errors import InputError
from lookbook.scrape import Product, Rejection, read_options, read_products

PRODUCTS = Path(__file__).parents[3] / "shared" / "data" / "products.json"  # 194 real products
URL = "https://cdn.example.com/1.jpg"
PID = "1595697832017801216"

Entry = Product | Rejection
Read = Callable[[Any], list[Entry]]


def an_item(**changes: Any) -> dict[str, Any]:
    return {"id": "p1", "title": "Blue Dress", "image": URL} | changes


def a_cj_item(**changes: Any) -> dict[str, Any]:
    return {
        "pid": PID,
        "productName": '["蓝色连衣裙","连衣裙"]',
        "productNameEn": "Women's Blue Dress",
        "productSku": "CJJT1620344",
        "productImage": "https://cf.cjdropshipping.com/7f037652.jpg?x-oss-process=image/resize,w_200",
        "productType": "ORDINARY_PRODUCT",
        "categoryName": "Women's Clothing > Dresses",
        "sellPrice": "3.49 -- 4.78",
        "remark": "<p>Soft<br/>cotton</p>",
        "createTime": 1669278984000,
        "isVideo": None,
    } | changes


CJ_PRODUCT = Product(
    product_id=PID,
    title="Women's Blue Dress",
    category="Women's Clothing > Dresses",
    image_url="https://cf.cjdropshipping.com/7f037652.jpg",
    source="cj",
    price="3.49-4.78",
    description="Soft cotton",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scrape.json"


@pytest.fixture
def read(path: Path) -> Read:
    """Write a file (bytes or text as they are, anything else as JSON) and read it."""

    def read(content: Any) -> list[Entry]:
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        path.write_bytes(content)
        numbered = list(read_products(path))
        assert [index for index, _ in numbered] == list(range(len(numbered)))
        for index, entry in numbered:
            assert isinstance(entry, Product) or entry.index == index
        return [entry for _, entry in numbered]

    return read


def refusal(read: Read, content: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(content)
    return str(caught.value)


def the_product(read: Read, **changes: Any) -> Product:
    [entry] = read([an_item(**changes)])
    assert isinstance(entry, Product), entry
    return entry


def the_reason(read: Read, item: Any) -> str:
    [entry] = read([item])
    assert isinstance(entry, Rejection)
    assert entry.reason.endswith(".")
    assert "\n" not in entry.reason
    return entry.reason


def ids(entries: list[Entry]) -> list[str]:
    return [entry.product_id for entry in entries]


# --- shapes ----------------------------------------------------------------------------------------------------

TWO = [an_item(id="p1"), an_item(id="p2")]


@pytest.mark.parametrize(
    "content",
    [
        TWO,
        {"products": TWO},
        {"products": TWO, "options": {"variants": 2}},
        {"options": {"variants": 2}, "products": TWO},
        {"code": 200, "result": True, "message": "Success", "data": {"pageNum": 1, "list": TWO, "total": 2}},
        {"data": {"list": TWO}, "success": True},
        {"success": True, "data": TWO},
        {"data": {"content": [{"productList": TWO[:1]}, {"keyWord": "x", "productList": TWO[1:]}], "pageSize": 2}},
        json.dumps(TWO, indent=2),
        json.dumps({"products": TWO}, indent=2).replace("\n", "\r\n"),
        "[\n" + ",\n".join(json.dumps(item) for item in TWO) + "\n]\n",
        '{"products": [\n' + ",\n".join(json.dumps(item) for item in TWO) + "\n]}",
        "\n\n" + json.dumps(TWO) + "\n\n",
        codecs.BOM_UTF8 + json.dumps(TWO).encode(),
        # JSON Lines
        "\n".join(json.dumps(item) for item in TWO),
        "\r\n".join(json.dumps(item) for item in TWO) + "\r\n",
        "\n\n".join(json.dumps(item) for item in TWO) + "\n\n",
        codecs.BOM_UTF8 + "\n".join(json.dumps(item) for item in TWO).encode(),
    ],
)
def test_every_shape_gives_its_products_in_order(read: Read, content: Any) -> None:
    entries = read(content)
    assert ids(entries) == ["p1", "p2"]
    assert all(isinstance(entry, Product) for entry in entries)


@pytest.mark.parametrize(
    "content",
    [
        {"code": 200, "success": True, "data": a_cj_item()},
        a_cj_item(),
        json.dumps(a_cj_item(), indent=2),
        json.dumps(a_cj_item()) + "\n",
        {"data": {"list": [a_cj_item()]}},
    ],
)
def test_one_product_alone(read: Read, content: Any) -> None:
    assert read(content) == [CJ_PRODUCT]


def test_cj_detail(read: Read) -> None:
    # Given a detail answer as older data has it: a picture list inside a text, and a set of pictures
    pictures = ["https://cf.cjdropshipping.com/1.jpg", "https://cf.cjdropshipping.com/2.jpg"]
    item = a_cj_item(productImage=json.dumps(pictures), productImageSet=pictures, sellPrice=None)
    item["variants"] = [{"vid": "1", "variantSellPrice": 5.5, "variantKey": "Blue-S"}]

    # Then the first picture and the first variant's price are taken
    [product] = read({"code": 200, "data": item})
    assert isinstance(product, Product)
    assert product.image_url == pictures[0]
    assert product.price == "5.50"


def test_cj_list_v2(read: Read) -> None:
    item = {
        "id": PID,
        "nameEn": "Blue Dress",
        "sku": "CJJT1620344",
        "bigImage": "https://cf.cjdropshipping.com/1.jpg",
        "sellPrice": "3.49",
        "threeCategoryName": "Dresses",
        "productType": "4",
        "description": None,
    }
    [product] = read({"code": 200, "success": True, "data": {"content": [{"productList": [item]}]}})
    assert product == Product(PID, "Blue Dress", "4", "https://cf.cjdropshipping.com/1.jpg", "cj", "3.49", "")


def test_shopify_products(read: Read) -> None:
    item = {
        "id": 7213492109,
        "title": "Linen Shirt",
        "handle": "linen-shirt",
        "body_html": "<p>Cool &amp; light</p><script>alert(1)</script>",
        "vendor": "Store",
        "product_type": "Shirts",
        "variants": [{"id": 1, "title": "S", "price": "19.90"}, {"id": 2, "title": "M", "price": "21.90"}],
        "images": [{"id": 3, "src": "https://cdn.shopify.com/s/1.jpg?v=17"}],
        "options": [{"name": "Size"}],
    }
    [product] = read({"products": [item]})
    assert product == Product(
        product_id="7213492109",
        title="Linen Shirt",
        category="Shirts",
        image_url="https://cdn.shopify.com/s/1.jpg?v=17",
        source="shopify",
        price="19.90",
        description="Cool & light",
    )


@pytest.mark.skipif(not PRODUCTS.exists(), reason="the shared data is not beside this repository")
def test_real_products() -> None:
    raw = json.loads(PRODUCTS.read_text(encoding="utf-8"))
    entries = [entry for _, entry in read_products(PRODUCTS)]
    assert ids(entries) == [str(item["id"]) for item in raw]
    assert [entry.title for entry in entries] == [item["title"] for item in raw]
    assert [entry.price for entry in entries if isinstance(entry, Product)] == [f"{item['price']:.2f}" for item in raw]


def test_a_product_with_fields_named_like_lists_is_a_product(read: Read) -> None:
    item = an_item(list=[1], content=[{"productList": [2]}], data=[3], products=[4])
    assert ids(read([item])) == ["p1"]
    assert ids(read(json.dumps(item) + "\n" + json.dumps(item))) == ["p1", "p1"]


# --- options ---------------------------------------------------------------------------------------------------


def options_of(path: Path, content: Any) -> dict[str, Any]:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_options(path)


def test_options_before_and_after_the_products(path: Path) -> None:
    options = {"variants": 2, "max_cost_usd": 1.5, "model_photos": ["woman_45"], "nested": {"a": [1, None]}}
    assert options_of(path, {"options": options, "products": TWO}) == options
    assert options_of(path, {"products": TWO, "options": options}) == options


@pytest.mark.parametrize(
    "content",
    [
        TWO,
        {"products": TWO},
        {"products": TWO, "options": None},
        an_item(options=[{"name": "Size"}]),
        "\n".join(json.dumps(item) for item in TWO),
        {"data": {"list": TWO, "options": {"variants": 2}}},
    ],
)
def test_no_options(path: Path, content: Any) -> None:
    assert options_of(path, content) == {}


def test_options_of_another_kind_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match='"options" must be an object, but it is a list'):
        options_of(path, {"products": TWO, "options": ["variants"]})


def test_huge_options_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match='"options" is too large'):
        options_of(path, {"products": TWO, "options": {"model_photos": ["x"] * 600_000}})


def test_options_of_a_broken_file_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match="cut off"):
        options_of(path, '{"products": [{"id": 1}')
    with pytest.raises(InputError, match="empty"):
        options_of(path, "")


# --- fields ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["product_id", "cj_product_id", "pid", "productId", "id", "sku"])
@pytest.mark.parametrize("title", ["title", "name", "productNameEn", "productName"])
def test_names_of_id_and_title(read: Read, key: str, title: str) -> None:
    [entry] = read([{key: "CJ1", title: "Blue Dress", "image": URL}])
    assert isinstance(entry, Product)
    assert (entry.product_id, entry.title) == ("CJ1", "Blue Dress")


@pytest.mark.parametrize(
    "fields",
    [
        {"image": URL},
        {"imageUrl": URL},
        {"image_url": URL},
        {"productImage": URL},
        {"productImage": f'["{URL}","https://cdn.example.com/2.jpg"]'},
        {"thumbnail": URL},
        {"bigImage": URL},
        {"images": [URL, "https://cdn.example.com/2.jpg"]},
        {"images": [{"src": URL}]},
        {"images": [{"id": 1, "url": URL}]},
        {"images": [None, "", {"src": None}, URL]},
        {"image": {"src": URL}},
        {"productImageSet": [URL]},
        {"productImageSet": f'["{URL}"]'},
        {"variants": [{"variantImage": URL}]},
        # A field that holds nothing does not hide the next.
        {"image": None, "imageUrl": "", "productImage": "[]", "thumbnail": " ", "images": [], "productImageSet": [URL]},
        {"images": ["/relative.jpg", URL]},
    ],
)
def test_names_and_forms_of_the_image(read: Read, fields: dict[str, Any]) -> None:
    [entry] = read([{"id": "p1", "title": "Blue Dress"} | fields])
    assert isinstance(entry, Product), entry
    assert entry.image_url == URL


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("//cdn.example.com/1.jpg", URL),
        (" http://cdn.example.com/1.jpg\n", "http://cdn.example.com/1.jpg"),
        ("HTTPS://cdn.example.com/1.jpg", "HTTPS://cdn.example.com/1.jpg"),
        ("https://cdn.example.com:8443/a b.jpg", "https://cdn.example.com:8443/a%20b.jpg"),
        ("https://x.com/1.jpg?x-oss-process=image/resize,w_200,h_200", "https://x.com/1.jpg"),
        ("https://x.com/1.jpg?v=1&X-Oss-Process=style/a&w=2", "https://x.com/1.jpg?v=1&w=2"),
        ("https://x.com/1.jpg?x%2Doss%2Dprocess=a", "https://x.com/1.jpg?x%2Doss%2Dprocess=a"),
        ("https://x.com/x-oss-process.jpg?v=%20", "https://x.com/x-oss-process.jpg?v=%20"),
        ("https://x.com/women's-&-men.webp", "https://x.com/women's-&-men.webp"),
    ],
)
def test_web_addresses(read: Read, given: str, expected: str) -> None:
    assert the_product(read, image=given).image_url == expected


@pytest.mark.parametrize(
    "image",
    [
        "/relative.jpg",
        "ftp://cdn.example.com/1.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "https://",
        "https:///1.jpg",
        "https://user:secret@cdn.example.com/1.jpg",
        "https://user@cdn.example.com/1.jpg",
        "https://cdn.example.com:port/1.jpg",
        "https://cdn.example.com:99999/1.jpg",
        "https://[::1/1.jpg",
        "https://cdn.example.com\\@evil.example/1.jpg",
        "https://cdn.example.com/\u202egpj.jpg",
        "https://cdn.example.com/" + "a" * 2048,
        7,
        True,
        {"href": URL},
        [[[[URL]]]],
    ],
)
def test_images_that_are_no_web_address(read: Read, image: Any) -> None:
    reason = the_reason(read, an_item(image=image))
    assert "image" in reason
    assert "secret" not in reason


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1595697832017801217, "1595697832017801217"),
        ("1595697832017801217", "1595697832017801217"),
        (" CJ12345678 ", "CJ12345678"),
        ("hotmart:698441", "hotmart:698441"),
        ("2252588B-72E3-4397-8C92-7D9967161084", "2252588B-72E3-4397-8C92-7D9967161084"),
        (0, "0"),
        ("12E3", "12E3"),  # a stock number, not a spreadsheet's 1.2E+4
        ("x" * 128, "x" * 128),
    ],
)
def test_ids_keep_every_digit(read: Read, given: Any, expected: str) -> None:
    assert the_product(read, id=given).product_id == expected
    [line] = read(json.dumps(an_item(id=given)) + "\n")
    assert line.product_id == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("1.595697832017801e18", "digits may be lost; send it as text"),
        ("1595697832017801216.0", "digits may be lost"),
        ('"1.5957E+18"', "digits may be lost"),
        ('"1595697832017801216.0"', "digits may be lost"),
        ("true", "must be text or a whole number"),
        ('["a"]', "must be text or a whole number"),
        ('{"a": 1}', "must be text or a whole number"),
        ('"a b"', "must not contain"),
        ('"a/b"', "must not contain"),
        ('"a\\\\b"', "must not contain"),
        ('"a?b"', "must not contain"),
        ('"a#b"', "must not contain"),
        ('"100%"', "must not contain"),
        ('"a|b"', "must not contain"),
        ('"a\\u0000b"', "must not contain"),
        ('"a\\u200bb"', "must not contain"),
        ('"' + "x" * 129 + '"', "1 to 128 characters"),
        ('""', "No product id was found"),
        ("null", "No product id was found"),
    ],
)
def test_ids_that_cannot_be_used(read: Read, given: str, said: str) -> None:
    item = '{"id": ' + given + ', "title": "Blue Dress", "image": "' + URL + '"}'
    for content in (f"[{item}]", item + "\n" + item):
        rejected = read(content)[0]
        assert isinstance(rejected, Rejection)
        assert said in rejected.reason
        assert rejected.title == "Blue Dress"
        # An id that cannot be used still tells which product it is.
        text = json.loads(given)
        shown = "".join(char if char.isprintable() else " " for char in text)[:128] if isinstance(text, str) else ""
        assert rejected.product_id[:100] == shown[:100]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("  Blue \n\t Dress\u00a0 ", "Blue Dress"),
        ("Women&#39;s Tops &amp; Tees", "Women's Tops & Tees"),
        ('["Blue dress","Dress"]', "Blue dress"),
        ("[Hot] Blue Dress", "[Hot] Blue Dress"),
        ("Blue\x00Dress", "Blue Dress"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "…"),
        ("连衣裙 👗", "连衣裙 👗"),
    ],
)
def test_titles(read: Read, given: str, expected: str) -> None:
    assert the_product(read, title=given).title == expected


@pytest.mark.parametrize("title", [7, True, [1], {"text": "x"}, "\x00"])
def test_titles_that_are_no_text(read: Read, title: Any) -> None:
    assert "title must be text" in the_reason(read, an_item(title=title))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (9.99, "9.99"),
        (10, "10.00"),
        ("3.49", "3.49"),
        ("3.49 -- 4.78", "3.49-4.78"),
        ("4.78-3.49", "3.49-4.78"),
        ("3.49 – 3.49", "3.49"),  # noqa: RUF001 - an en dash, as shops write it
        ("$3.49 - $4.78", "3.49-4.78"),
        ("From US$3.49 to US$4.78 each", "3.49-4.78"),
        ("R$ 19,90", "19.90"),
        ("1,299.00", "1299.00"),
        ("1.299,00", "1299.00"),
        ("1,299", "1299.00"),
        ("1.234.567", "1234567.00"),
        ({"amount": "3.49", "currencyCode": "USD"}, "3.49"),
        (0, "0.00"),
        ("", ""),
        (None, ""),
        ("ask", ""),
        ("3 4 5", ""),
        (-1, ""),
        ("-1", ""),
        (True, ""),
        ([1], ""),
        ("9" * 99, ""),
        (1e300, ""),
    ],
)
def test_prices(read: Read, given: Any, expected: str) -> None:
    assert the_product(read, price=given).price == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<p>Soft<br>cotton</p>", "Soft cotton"),
        ("&lt;p&gt;Soft&lt;/p&gt; cotton", "Soft cotton"),
        ("<style>p {color: red}</style><!-- no --><SCRIPT>x</SCRIPT >Soft", "Soft"),
        ("Soft <script>alert(1)", "Soft"),
        ("3 < 5 &amp; 7 > 6", "3 < 5 & 7 > 6"),
        ("x" * 3000, "x" * 1999 + "…"),
        (["Soft", "cotton"], "Soft cotton"),
        (None, ""),
        (7, ""),
    ],
)
def test_descriptions_are_plain_text(read: Read, given: Any, expected: str) -> None:
    assert the_product(read, description=given).description == expected


def test_hostile_html_takes_no_time(read: Read) -> None:
    for text in ("<" * 900_000, "<!--" * 200_000, "<a " * 300_000, "<script>" * 100_000, "&lt;" * 200_000):
        assert len(the_product(read, description=text).description) <= 2000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Dresses", "Dresses"),
        ({"id": 1, "name": "Dresses"}, "Dresses"),
        (["Women", "Dresses"], "Women > Dresses"),
        ('["Women","Dresses"]', "Women > Dresses"),
        ("ORDINARY_PRODUCT", ""),  # CJ's productType is no category
        (12, ""),
        (None, ""),
    ],
)
def test_categories(read: Read, given: Any, expected: str) -> None:
    assert the_product(read, category=given).category == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "scrape"),
        ({"productSku": "CJJT1"}, "cj"),
        ({"body_html": None}, "shopify"),
        ({"id": "hotmart:698441"}, "hotmart"),
        ({"source": "hotmart", "pid": "1"}, "hotmart"),
        ({"source": "elsewhere"}, "scrape"),
        ({"source": ["cj"]}, "scrape"),
    ],
)
def test_sources(read: Read, fields: dict[str, Any], expected: str) -> None:
    assert the_product(read, **fields).source == expected


# --- entries that are no product -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("id", "No product id was found; give one as product_id, pid, id or sku."),
        ("title", "No title was found; give one as title, name or productNameEn."),
    ],
)
def test_a_missing_field_is_named(read: Read, missing: str, said: str) -> None:
    item = {key: value for key, value in an_item().items() if key != missing}
    [entry] = read([item])
    assert entry == Rejection(0, item.get("id", ""), said, item.get("title", ""))


@pytest.mark.parametrize("nothing", [{}, {"image": None}, {"image": ""}, {"images": []}, {"productImage": "[]"}])
def test_a_product_without_an_image_is_a_product(read: Read, nothing: dict[str, Any]) -> None:
    # Whether it needs one depends on the method, which Ingest chooses.
    item = {key: value for key, value in an_item().items() if key != "image"} | nothing
    [entry] = read([item])
    assert isinstance(entry, Product), entry
    assert entry.image_url == ""


def test_the_first_problem_is_told(read: Read) -> None:
    assert the_reason(read, {}).startswith("No product id")
    assert the_reason(read, {"id": 1}).startswith("No title")


@pytest.mark.parametrize(
    ("item", "kind"),
    [(None, "null"), (7, "a number"), (1.5, "a number"), (True, "true or false"), ("x", "text"), ([{}], "a list")],
)
def test_an_entry_that_is_no_object(read: Read, item: Any, kind: str) -> None:
    entries = read([item, an_item()])
    assert isinstance(entries[0], Rejection)
    assert entries[0].reason.endswith(f"this is {kind}.")
    assert isinstance(entries[1], Product)


def test_a_product_that_is_too_large_is_rejected_and_the_next_is_read(read: Read) -> None:
    # Given one of 1.2 MB in many values, one of 9 MB in one text, one of nothing but brackets, one much too deep
    many = an_item(variants=[{"price": n} for n in range(200_000)])
    long = an_item(description="x" * 9_000_000)
    brackets = json.dumps(an_item()).removesuffix("}") + ', "x": [' + ",".join(["[]"] * 600_000) + "]}"
    deep = json.dumps(an_item()).removesuffix("}") + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    items = [json.dumps(many), json.dumps(long), brackets, deep, json.dumps(an_item(id="p2"))]

    # Then in a list and as lines those are rejected and the last is read
    as_list = read("[" + ",".join(items) + "]")
    assert [type(entry) for entry in as_list] == [Rejection] * 4 + [Product]
    assert all(isinstance(e, Product) or "larger than 1 MB or has more than 200 nested" in e.reason for e in as_list)
    assert (as_list[0].product_id, as_list[0].title) == ("p1", "Blue Dress")
    as_lines = read("\n".join(reversed(items)))
    assert [type(entry) for entry in as_lines] == [Product] + [Rejection] * 4


def test_a_lone_product_that_is_too_large_is_rejected(read: Read) -> None:
    assert "larger than 1 MB" in the_reason(read, an_item(description="x" * 1_100_000))
    [entry] = read({"data": an_item(description="x" * 1_100_000)})
    assert isinstance(entry, Rejection)


def test_a_text_that_would_fill_the_memory_ends_the_file(read: Read) -> None:
    content = b'[{"id": 1}, "' + b"x" * 33_000_000 + b'"]'
    assert "a single text of more than 32 MB" in refusal(read, content)


def test_memory_stays_constant(path: Path) -> None:
    # Given files of 10 MB
    items = [json.dumps(a_cj_item(pid=n, remark="<p>Soft</p>" * 200)) for n in range(4000)]
    for content in ('{"data": {"list": [' + ",".join(items) + "]}}", "\n".join(items)):
        path.write_text(content, encoding="utf-8")
        tracemalloc.start()

        # When they are read
        count = sum(isinstance(entry, Product) for _, entry in read_products(path))
        read_options(path)

        # Then little of them was held at a time
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 4000
        assert peak < 4_000_000


# --- JSON Lines ------------------------------------------------------------------------------------------------


def test_a_broken_line_is_a_broken_product(read: Read) -> None:
    lines = [
        json.dumps(an_item(id="p0")).encode(),
        b'{"id": "p1", "title": "Blue',
        b"",
        b"oops",
        '{"id": "p3", "title": "Caf\u00e9"}'.encode("latin-1"),
        b'{"id": NaN}',
        b'{"id": ' + b"1" * 5000 + b"}",
        b"7",
        json.dumps(an_item(id="p7")).encode(),
    ]
    entries = read(b"\r\n".join(lines))
    assert [entry.reason if isinstance(entry, Rejection) else entry.product_id for entry in entries] == [
        "p0",
        "Line 2 is not valid JSON; it breaks at column 23.",
        "Line 4 is not valid JSON; it breaks at column 1.",
        "Line 5 is not UTF-8 text.",
        "Line 6 is not valid JSON: a number, a character or the nesting in it is beyond what JSON readers take.",
        "Line 7 is not valid JSON: a number, a character or the nesting in it is beyond what JSON readers take.",
        "A product must be an object with an id and a title; this is a number.",
        "p7",
    ]


@pytest.mark.parametrize(
    "broken", ['{"id": "p0", "title": "Bl', '{"id": "p0"', '{"id": "p0",', "oops", '"', "null", "[]"]
)
def test_the_first_line_may_be_the_broken_one(read: Read, broken: str) -> None:
    entries = read("\n".join([broken, *(json.dumps(item) for item in TWO)]))
    assert isinstance(entries[0], Rejection)
    assert ids(entries[1:]) == ["p1", "p2"]


def test_the_second_line_may_be_the_broken_one(read: Read) -> None:
    entries = read(json.dumps(an_item()) + "\n{oops")
    assert [type(entry) for entry in entries] == [Product, Rejection]


def test_a_first_line_that_is_too_long(read: Read) -> None:
    entries = read("\n".join([json.dumps(an_item(description="x" * 1_100_000)), *(json.dumps(item) for item in TWO)]))
    assert isinstance(entries[0], Rejection)
    assert entries[0].reason == "Line 1 is longer than 1 MB."
    assert ids(entries[1:]) == ["p1", "p2"]


# --- files that are no scrape ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \r\n\t\n", "is empty"),
        (codecs.BOM_UTF8, "is empty"),
        (codecs.BOM_UTF8[:1], "is not JSON"),
        (json.dumps(TWO).encode("utf-16"), "UTF-16"),
        (json.dumps(TWO).encode("utf-16-le"), "UTF-16"),
        (json.dumps(TWO).encode("utf-16-be"), "UTF-16"),
        (json.dumps(TWO).encode("utf-32"), "UTF-32"),
        (codecs.BOM_UTF32_BE + json.dumps(TWO).encode("utf-32-be"), "UTF-32"),
        (gzip.compress(b"[]", mtime=0), "gzip"),
        (b"PK\x03\x04\x14\x00[Content_Types].xml", "XLSX"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "XLS"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", "not text"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"\n<?xml version='1.0'?>", "web page or XML"),
        (b"id,title,image\n1,Dress,https://x.com/1.jpg\n", "CSV"),
        (b'"id";"title"\n"1";"Dress"\n', "CSV"),
        (b"id\ttitle\n1\tDress\n", "CSV"),
        (b"products\n", "is not JSON; accepted are a JSON array"),
        (b"7", "holds a number, not products"),
        (b'"text"', "holds text, not products"),
        (b"null", "holds null, not products"),
        (b"[]", "holds no products"),
        (b'{"products": []}', "holds no products"),
        (b'{"data": {"list": [], "total": 0}, "success": true}', "holds no products"),
        (b'{"data": {"content": []}}', "holds no products"),
        (b'{"data": []}', "holds no products"),
    ],
)
def test_files_of_another_kind(read: Read, content: bytes, said: str) -> None:
    assert said in refusal(read, content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1, 2,, 3]", "line 1 (byte 6)"),
        (b'[\n{"id": 1},\n{"id": NaN}]', "line 3 (byte 20)"),
        (b'[{"id": 1}] [{"id": 2}]', "line 1 (byte 12)"),
        (b'[{"id": 1},]', "line 1 (byte 11)"),
        (b"{'id': 1}", "line 1 (byte 1)"),
        (b'{"products": [{"id": 1}]}}', "line 1 (byte 25)"),
        (codecs.BOM_UTF8 + b"[1, 2,, 3]", "line 1 (byte 9)"),
        (b"[" + b'{"id": "12345"},\n' * 40_000 + b"oops]", "line 40001 (byte 680,001)"),
        (b'["' + b"x" * 3_000_000 + b'\n"]', "(byte 3,000,002)"),
    ],
)
def test_a_syntax_error_is_located(read: Read, content: bytes, said: str) -> None:
    reason = refusal(read, content)
    assert reason.startswith("The file is not valid JSON: ")
    assert said in reason


def test_a_syntax_error_shows_what_stands_there(read: Read) -> None:
    assert refusal(read, b'[{"id": 1, "price": NaN}]').endswith("""where it reads '[{"id": 1, "price": N'.""")


@pytest.mark.parametrize("content", [b"[", b'{"products": [', b'[{"id": "Caf\xc3', b'[{"id": 1}, ', b'{"a": tr'])
def test_a_file_that_is_cut_off(read: Read, content: bytes) -> None:
    reason = refusal(read, content)
    assert "cut off" in reason
    assert f"{len(content)} bytes" in reason


def test_a_file_in_another_encoding(read: Read) -> None:
    content = '[{"id": 1},\n{"title": "Café au lait"}]'.encode("latin-1")
    assert refusal(read, content) == "The file is not UTF-8 text: line 2 holds other bytes; save it as UTF-8."


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "1" * 4301, "1" * 600_000])
@pytest.mark.parametrize("before", [0, 262_000, 262_144 - 5])  # so that it lies across two reads, too
def test_a_number_no_int_can_hold(read: Read, number: str, before: int) -> None:
    # yajl2_c would crash the process
    assert "a number of more than 4,000 digits" in refusal(read, "[" + " " * before + f'{{"id": {number}}}]')


def test_a_long_number_that_an_int_can_hold(read: Read) -> None:
    assert "1 to 128 characters" in the_reason(read, an_item(id=10**3999))


def test_an_absurd_exponent(read: Read) -> None:
    assert "a number that is too large before line 2" in refusal(read, '[\n{"id": 1e99999999999999999999}]')


def test_no_product_list_says_what_there_is(read: Read) -> None:
    reason = refusal(read, {"items": TWO, "count": 2, "data": {"rows": [], "total": 0}, "next": None})
    for part in (
        '"items" (a list)',
        '"count" (a number)',
        '"data.rows" (a list)',
        '"next" (null)',
        '{"products": […]}',
    ):
        assert part in reason
    assert "none" in refusal(read, {})
    assert '"products" (an object)' in refusal(read, {"products": {"p1": an_item()}})


@pytest.mark.parametrize(
    "answer",
    [
        {"code": 1600100, "result": False, "message": "Param error", "data": None, "requestId": "1"},
        {"success": False, "code": 1600100, "message": "Param error"},
        {"data": {"list": []}, "code": 1600100, "message": "Param error", "success": False},
        {"code": 1600100, "message": "Param error", "data": None},
    ],
)
def test_an_answer_that_failed_gives_its_message(read: Read, answer: Any) -> None:
    assert 'failed with "Param error" (code 1600100)' in refusal(read, answer)


# --- properties ------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    ["id", "pid", "title", "productName", "image", "images", "price", "variants", "category", "description", "source"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=6),
    max_leaves=15,
)
ITEM = JSON | st.dictionaries(KEYS, JSON | st.just(URL), max_size=11)

same_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@same_file
@given(st.lists(ITEM, min_size=1, max_size=4))
def test_any_json_is_a_product_or_a_rejection(read: Read, items: list[Any]) -> None:
    for content in (json.dumps(items), json.dumps({"products": items}, ensure_ascii=True, indent=1)):
        entries = read(content)
        assert len(entries) == len(items)
        for entry in entries:
            if isinstance(entry, Product):
                # A product keeps what it promises, and can be stored as UTF-8.
                assert 1 <= len(entry.product_id) <= scrape.MAX_ID_CHARS
                assert 1 <= len(entry.title) <= scrape.MAX_TITLE_CHARS
                assert entry.image_url == "" or entry.image_url.lower().startswith(("http://", "https://"))
                assert len(entry.description) <= scrape.MAX_DESCRIPTION_CHARS
                json.dumps(asdict(entry), ensure_ascii=False).encode()
            else:
                assert entry.reason


@same_file
@given(st.lists(ITEM, min_size=1, max_size=4))
def test_lines_and_a_list_are_read_alike(read: Read, items: list[Any]) -> None:
    # Given products as lines, with a whole one first and last so that they are lines
    items = [an_item(), *items, an_item()]
    lines = [json.dumps(item) for item in items]

    as_lines, as_list = read("\n".join(lines)), read("[" + ",".join(lines) + "]")

    assert len(as_lines) == len(as_list) == len(items)
    for line, element in zip(as_lines, as_list, strict=True):
        # Half of a character, which JSON can escape alone, breaks a line and is a question mark in a list.
        assert line == element or "\\ud" in json.dumps(items)


@same_file
@given(st.data())
def test_a_truncated_document_is_refused(read: Read, data: st.DataObject) -> None:
    document = data.draw(
        st.sampled_from([TWO, {"products": TWO, "options": {"a": 1}}, {"data": {"list": TWO}, "x": "é"}, a_cj_item()])
    )
    indent = data.draw(st.sampled_from([None, 0, 2]))
    whole = (
        codecs.BOM_UTF8 * data.draw(st.booleans()) + json.dumps(document, indent=indent, ensure_ascii=False).encode()
    )
    assert refusal(read, whole[: data.draw(st.integers(0, len(whole) - 1))])


@same_file
@given(st.integers(0, 10_000))
def test_truncated_lines_are_whole_products_and_at_most_one_rejection(read: Read, cut: int) -> None:
    # Given three lines, the second with characters of several bytes
    items = [an_item(id="p0"), an_item(id="p1", title="Vestido azul é 连衣裙"), an_item(id="p2")]
    lines = [json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items]
    whole = b"".join(lines)
    cut %= len(whole) + 1

    # When they are cut within the first, it is one broken document
    if cut < len(lines[0]) - 1:
        assert refusal(read, whole[:cut])
        return

    # Then otherwise the whole ones are read, and what is left of the last is rejected
    entries = read(whole[:cut])
    good = [entry for entry in entries if isinstance(entry, Product)]
    assert ids(list(good)) == [f"p{n}" for n in range(len(good))]
    assert [type(entry) for entry in entries[len(good) :]] in ([], [Rejection])


@same_file
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(read: Read, content: bytes) -> None:
    try:
        assert read(content)
    except InputError as error:
        assert str(error).endswith(".")  # noqa: PT017 - either outcome is right
