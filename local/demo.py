"""The demo: two stores' scrapes on a local cloud of their own, planned before, published, and accounted for after.

The second store reuses what the first one paid for.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from rich.console import Console

from local import catalogue, shops
from local.art import contact_sheet
from local.cloud import ROOT, Cloud, CloudError, say
from local.seed import seed_model_photos
from local.shops import OpenShop
from lookbook_cli.render import ledger_sums_table, run_table

FOLDER = ROOT / "demo"
FIRST_STORE = range(40)
SECOND_STORE = range(8, 48)
ON_THE_SHEET = 24
IN_BOTH_SHOPS = range(10, 14)
BUDGET_USD = 5
VARIANTS = 3


def main() -> int:
    started = time.monotonic()
    console = Console()
    cloud = Cloud(ROOT / ".local/demo")
    cloud.forget()
    console.print("[bold]Lookbook's demo[/bold]: two stores, mostly the same products. It takes about three minutes.\n")
    try:
        console.print("1. A local cloud: the engine, the stand-ins for GPU and supplier, and the deployed template")
        known = cloud.up({"GpuConcurrency": "12"}, {"gpu": ["--workers", "8", "--latency", "0.4"]})
        names = seed_model_photos(known["api_url"], cloud.token(known))
        say(f"three model photos: {', '.join(names)}")
        return show(console, cloud, known, started)
    except CloudError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    finally:
        cloud.forget()


def show(console: Console, cloud: Cloud, known: dict[str, Any], started: float) -> int:
    FOLDER.mkdir(exist_ok=True)
    first_scrape = catalogue.plain_scrape(known["pictures_url"], FIRST_STORE) + catalogue.courses()
    scrapes = {
        "store-1.json": {"products": first_scrape, "options": {"max_cost_usd": BUDGET_USD}},
        "store-2.json": catalogue.cj_scrape(known["pictures_url"], SECOND_STORE),
    }
    for name, scrape in scrapes.items():
        (FOLDER / name).write_text(json.dumps(scrape, indent=1))
    garments = [(catalogue.product_id(number), catalogue.garment(number)[0]) for number in SECOND_STORE]
    sold = [(str(each.get("cj_product_id") or each["product_id"]), each["title"]) for each in first_scrape]
    stores = {"one": add_store(cloud, known, "one", sold), "two": add_store(cloud, known, "two", garments)}
    console.print("\n2. What would it cost? lookbook run demo/store-1.json --plan   (40 garments and 3 courses)")
    lookbook(cloud, "run", os.path.relpath(FOLDER / "store-1.json"), "--plan")
    runs = []
    for number, (name, store, about) in enumerate(
        [
            ("store-1.json", "one", f"within the budget of {BUDGET_USD} dollars that the file sets"),
            ("store-2.json", "two", "40 products, 32 of them the same"),
        ]
    ):
        console.print(f"\n{number + 3}. lookbook run demo/{name} --store {store}   ({about})")
        runs.append(run(cloud, FOLDER / name, store))

    console.print("\n[bold]Both runs side by side[/bold]")
    console.print(run_table(runs, ["store 1", "store 2"]))
    console.print("The stand-in's GPU is faster than the one that the plan assumes, so it cost less.")
    first, second = runs
    console.print("\n[bold]The ledger[/bold]: what both runs bought, and what the providers say that they sold")
    charged = {service: charges(known, service) for service in ("gpu", "openai_images")}
    console.print(ledger_sums_table([*bought(first, "store 1"), *bought(second, "store 2")], console.width))
    console.print(
        f"The GPU's stand-in has charged {charged['gpu']} images and OpenAI's {charged['openai_images']}, one for each "
        f"that the library holds.\nStore 2 reused {second['counts']['reused']} products, paid for "
        f"{second['counts']['generated']}, and saved ${second['saved_usd']:.4f}."
    )
    product = catalogue.product_id(SECOND_STORE[0])
    console.print(f"\n5. One product: lookbook get {product}")
    lookbook(cloud, "get", product)
    console.print("\n6. Again, the shop is as it should be: lookbook sync two")
    lookbook(cloud, "sync", "two")
    drawn = draw_shops(known, stores)
    sheet = FOLDER / "contact-sheet.jpg"
    draw_sheet(cloud, first, sheet)
    console.print(
        f"\nLook at [bold]{sheet.relative_to(ROOT)}[/bold]: {ON_THE_SHEET} of the images; and at "
        f"[bold]{drawn.relative_to(ROOT)}[/bold]: what customers see in both shops."
    )
    console.print(
        "The stand-in for the GPU lays the garment over the model photo, hence PREVIEW; a real one tries it on."
    )
    console.print(f"\nDone in {time.monotonic() - started:.0f} s. Nothing is left running. Next: make up.")
    paid_once = sum(charged.values()) == first["images_generated"] + second["images_generated"]
    return 0 if paid_once and all(each["status"] == "succeeded" for each in runs) else 1


def bought(run: dict[str, Any], store: str) -> list[dict[str, Any]]:
    return [{**row, "provider": f"{store}, {row['provider']}"} for row in run["ledger"]]


def charges(known: dict[str, Any], service: str) -> int:
    return int(requests.get(f"{known[f'{service}_url']}/_charges", timeout=10).json()["count"])


def run(cloud: Cloud, scrape: Path, store: str) -> dict[str, Any]:
    """Run a scrape with the command as a user would, and return the run."""
    lookbook(cloud, "run", os.path.relpath(scrape), "--store", store)
    newest: list[dict[str, Any]] = json.loads(command(cloud, "runs", "--limit", "1", "--json", stdout=subprocess.PIPE))
    return newest[0]


def add_store(cloud: Cloud, known: dict[str, Any], name: str, products: list[tuple[str, str]]) -> OpenShop:
    """Open a shop on Shopify's stand-in, and add it as a store with the commands that its owner would use."""
    own = {catalogue.product_id(number): catalogue.picture_url(known["pictures_url"], number) for number in range(48)}
    shop = shops.open_shop(known["shop_url"], f"store-{name}", products, own_pictures=own)
    mapping, secret = FOLDER / f"{name}-mapping.csv", cloud.folder / f"{name}-token"
    mapping.write_text(shop.mapping())
    secret.write_text(shop.token)
    command(cloud, "stores", "add", name, "--domain", shop.domain, "--secret-file", str(secret), stdout=subprocess.PIPE)
    secret.unlink()
    command(cloud, "sync", name, str(mapping), "--map-only", stdout=subprocess.PIPE)
    say(f"store {name}: {shop.domain} (a stand-in), {len(products)} products mapped by {mapping.relative_to(ROOT)}")
    return shop


def lookbook(cloud: Cloud, *arguments: str) -> str:
    """Run the command and show what it prints."""
    return command(cloud, *arguments, stdout=None)


def command(cloud: Cloud, *arguments: str, stdout: Any) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lookbook_cli", *arguments],
        env={**os.environ, "LOOKBOOK_LOCAL": str(cloud.folder)},
        stdout=stdout,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode not in {0, 2}:
        raise CloudError(f"lookbook {arguments[0]} ended with status {done.returncode}.")
    return done.stdout or ""


def draw_sheet(cloud: Cloud, first: dict[str, Any], sheet: Path) -> None:
    """Put images of the first run on one sheet, a product next to the other, the model photos in turn."""
    entries = []
    for place, number in enumerate(FIRST_STORE[:ON_THE_SHEET]):
        if place % 8 == 0:
            say(f"contact sheet: {place} of {ON_THE_SHEET} images")
        answer = json.loads(command(cloud, "get", catalogue.product_id(number), "--json", stdout=subprocess.PIPE))
        image = _worn_by(answer, place)
        picture = Image.open(io.BytesIO(requests.get(image["url"], timeout=30).content))
        entries.append((picture.convert("RGB"), f"{answer['title']}\n{image['model_photo'].replace('_', ' ')}"))
    title = f"{ON_THE_SHEET} of the first store's {first['images_generated']} images"
    contact_sheet(entries, 6, title).convert("RGB").save(sheet, quality=88)


def draw_shops(known: dict[str, Any], stores: dict[str, OpenShop]) -> Path:
    """Draw some products as the customers of both shops see them: the merchant's own picture, then ours."""
    found = {
        (shop.domain, product["title"]): product
        for shop in stores.values()
        for product in shops.look(known["shop_url"], shop)["products"]
    }
    entries = []
    for title in (catalogue.garment(number)[0] for number in IN_BOTH_SHOPS):
        for shop in stores.values():
            for media in found[shop.domain, title]["media"]:
                picture = Image.open(io.BytesIO(requests.get(media["url"], timeout=30).content)).convert("RGB")
                whose = "the merchant's own" if media["created_by"] == "merchant" else "from the library"
                entries.append((picture, f"{title}\n{shop.domain.partition('.')[0]}: {whose}"))
    drawn = FOLDER / "shops.jpg"
    sheet = contact_sheet(entries, 2 * (1 + VARIANTS), "The same products in both shops, as their customers see them")
    sheet.convert("RGB").save(drawn, quality=88)
    return drawn


def _worn_by(product: dict[str, Any], place: int) -> dict[str, Any]:
    """Choose an image of a product whose model the category would suggest."""
    images: list[dict[str, Any]] = product["image_list"]
    sex = "man" if product["category"].startswith("Men") else "woman"
    fitting = [image for image in images if image["model_photo"].startswith(sex)] or images
    return fitting[place % len(fitting)]


if __name__ == "__main__":
    sys.exit(main())
