"""What a shop holds: its settings, products and pictures. Used from one event loop only.

Fields of GraphQL that are not in `fields.py` are answered by attributes and methods here, under their names in Python.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from pydantic import Base64Bytes, BaseModel, Field

from local.standins.shop.pictures import KINDS, BadPictureError, Content, Store, fetch, name_of
from local.standins.shop.price import Bucket
from local.standins.shop.schema import page

REORDER_SECONDS = 0.2  # a reorder happens so long after its mutation was answered
SETTLE_SECONDS = 5.0  # that what was begun has at the end

_last_number = [8_000_000_000_000]
_tasks: set[asyncio.Task[None]] = set()


def _number() -> int:
    _last_number[0] += 1
    return _last_number[0]


def count_from(number: int) -> int:
    """Give out only numbers after this one, and after those that were given out; return the last that was."""
    _last_number[0] = max(number, _last_number[0])
    return _last_number[0]


class Settings(BaseModel, extra="forbid"):
    """How a shop behaves; it can be changed at any time.

    `restore_rate` is in points a second. Seconds are how long a picture is processed, and a granted token lives.
    """

    title: str = ""
    scopes: list[str] = ["write_products", "write_files"]
    client_id: str = ""
    client_secret: str = ""
    restore_rate: float = 100
    processing_seconds: float = 1.0
    token_seconds: float = 86399


class NewPicture(BaseModel, extra="forbid"):
    """A picture of the merchant's own, ready at once."""

    base64: Base64Bytes
    filename: str = "picture"
    alt: str = ""


class NewVariant(BaseModel, extra="forbid"):
    sku: str | None = None
    barcode: str | None = None


class NewProduct(BaseModel, extra="forbid"):
    id: int = Field(default_factory=_number)
    title: str
    handle: str = ""
    variants: list[NewVariant] = [NewVariant()]
    pictures: list[NewPicture] = []


class NewShop(Settings):
    """A shop; `tokens` are Admin tokens that live until they are revoked."""

    shop: str
    tokens: list[str] = []
    products: list[NewProduct] = []


@dataclass(eq=False)
class MediaImage:
    """A picture. `wish` is the file name it is to have once it is ready."""

    shop: Shop
    alt: str
    created_by: str  # the mutation, or "merchant"
    source: str
    wish: str
    content: Content | None = None
    failure: BadPictureError | None = None
    filename: str | None = None
    id: str = field(default_factory=lambda: f"gid://shopify/MediaImage/{_number()}")
    created_at: float = field(default_factory=time.time)
    media_content_type: ClassVar[str] = "IMAGE"

    @property
    def status(self) -> str:
        """UPLOADED, in the second half of its time PROCESSING, and then READY or FAILED."""
        if self.failure or self.content:
            return "FAILED" if self.failure else "READY"
        half = self.shop.settings.processing_seconds / 2
        return "UPLOADED" if time.time() < self.created_at + half else "PROCESSING"

    file_status = status

    @property
    def file_errors(self) -> list[dict[str, str]]:
        return [{"code": self.failure.code, "message": str(self.failure)}] if self.failure else []

    media_errors = file_errors

    @property
    def image(self) -> dict[str, str] | None:
        if self.filename is None:
            return None
        return {"url": f"{self.shop.url}/cdn/files/{quote(self.filename)}?v={int(self.created_at)}"}

    @property
    def products(self) -> list[Product]:
        return [product for product in self.shop.products.values() if self in product.pictures]

    def describe(self, alt: str) -> None:
        if alt != self.alt:
            self.alt = alt
            for product in self.products:
                product.touch()

    def end(self, verdict: Content | BadPictureError) -> None:
        """End the processing; what is ready gets its own name, or one with a UUID if the shop has that already."""
        if isinstance(verdict, BadPictureError):
            self.failure = verdict
        else:
            path = PurePosixPath(self.wish)
            suffix = path.suffix or f".{KINDS[verdict.kind]}"
            name = path.stem + suffix
            if name in self.shop.by_filename:
                name = f"{path.stem}_{uuid.uuid4()}{suffix}"
            self.content, self.filename = verdict, name
            self.shop.by_filename[name] = self
        for product in self.products:
            product.touch()


@dataclass(eq=False)
class Product:
    """A product, its pictures in order."""

    number: int
    title: str
    handle: str
    updated_at: float = field(default_factory=time.time)
    variants: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[MediaImage] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"gid://shopify/Product/{self.number}"

    @property
    def media_count(self) -> dict[str, int]:
        return {"count": len(self.pictures)}

    def media(self, **asked: Any) -> dict[str, Any]:
        return page(enumerate(self.pictures), **asked)

    def touch(self) -> None:
        """Note a change; the date moves on even if the clock does not."""
        self.updated_at = max(time.time(), self.updated_at + 0.001)

    def attach(self, picture: MediaImage) -> None:
        if picture not in self.pictures:
            self.pictures.append(picture)
            self.touch()

    def detach(self, picture: MediaImage) -> None:
        if picture in self.pictures:
            self.pictures.remove(picture)
            self.touch()

    async def reorder(self, moves: list[tuple[MediaImage, int]]) -> None:
        """Apply moves a little later, one after the other, each to the order that the one before it left."""
        await asyncio.sleep(REORDER_SECONDS)
        for picture, place in moves:
            if picture in self.pictures:
                self.pictures.remove(picture)
                self.pictures.insert(place, picture)
        self.touch()


class Shop:
    """One shop; `url` is where it is served."""

    def __init__(self, new: NewShop, url: str, store: Store) -> None:
        self.domain, self.url = new.shop, url
        self.settings = Settings.model_validate(new.model_dump(include=set(Settings.model_fields)))
        self.store = store
        self.products: dict[str, Product] = {}  # by their global ids, as the pictures
        self.pictures: dict[str, MediaImage] = {}
        self.by_filename: dict[str, MediaImage] = {}
        self.targets: dict[str, dict[str, str]] = {}  # a staged upload's form, by where its bytes are then
        self.staged: dict[str, Path] = {}
        self.tokens = dict.fromkeys(new.tokens, float("inf"))  # until when they are good
        self.bucket = Bucket(self.settings.restore_rate)
        self.mutations: Counter[str] = Counter()
        self.points = 0.0  # spent
        self.throttled: list[float] = []  # when, in epoch seconds
        self.tokens_granted = 0

    @property
    def name(self) -> str:
        return self.settings.title or self.domain

    @property
    def scopes(self) -> set[str]:
        """What the app may do; who may write may read."""
        given = set(self.settings.scopes)
        return given | {scope.replace("write_", "read_", 1) for scope in given}

    def change(self, settings: Mapping[str, Any]) -> None:
        self.settings = Settings.model_validate({**self.settings.model_dump(), **settings})
        self.bucket = Bucket(self.settings.restore_rate)

    async def add_product(self, new: NewProduct) -> None:
        """Raises BadPictureError."""
        product = Product(new.id, new.title, new.handle)
        product.variants = [{"product": product, **each.model_dump()} for each in new.variants]
        self.products[product.id] = product
        for picture in new.pictures:
            await self.add_own_picture(product, picture)

    async def add_own_picture(self, product: Product, new: NewPicture) -> None:
        """Add a picture of the merchant's. Raises BadPictureError."""
        content = await asyncio.to_thread(self.store.take_in, new.base64)
        picture = MediaImage(self, new.alt, "merchant", "", new.filename)
        self.pictures[picture.id] = picture
        picture.end(content)
        product.attach(picture)

    def add_picture(
        self, source: str, alt: str, filename: str | None, operation: str, failure: BadPictureError | None
    ) -> MediaImage:
        """Add a picture that is fetched and judged in the background, or fails as it is given."""
        bare = urlsplit(source)._replace(query="").geturl()  # without what may be a signature
        picture = MediaImage(self, alt, operation, bare, filename or name_of(source))
        self.pictures[picture.id] = picture
        later(self._process(picture, source, failure))
        return picture

    async def _process(self, picture: MediaImage, source: str, failure: BadPictureError | None) -> None:
        ends = time.monotonic() + self.settings.processing_seconds
        verdict = await asyncio.to_thread(self._judged, source)
        await asyncio.sleep(ends - time.monotonic())
        if picture.id in self.pictures:
            picture.end(failure or verdict)

    def _judged(self, source: str) -> Content | BadPictureError:
        staged = self.staged.get(source)
        try:
            return self.store.take_in(staged.read_bytes() if staged else fetch(source))
        except BadPictureError as error:
            return error

    def delete_picture(self, picture: MediaImage) -> None:
        """Delete a picture for ever; it leaves every product."""
        for product in picture.products:
            product.detach(picture)
        del self.pictures[picture.id]
        if picture.filename:
            del self.by_filename[picture.filename]


def later(work: Coroutine[Any, Any, None]) -> None:
    """Do this in the background."""
    task = asyncio.create_task(work)
    _tasks.add(task)  # the event loop itself does not keep it
    task.add_done_callback(_tasks.discard)


async def settle() -> None:
    """Wait for what is done in the background."""
    if _tasks:
        await asyncio.wait(_tasks, timeout=SETTLE_SECONDS)
