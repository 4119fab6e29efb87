"""What the fields of a query and a mutation answer, with the user errors that Shopify documents."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from graphql import GraphQLError, GraphQLResolveInfo, OperationType
from pydantic.alias_generators import to_snake

from local.standins.shop import price
from local.standins.shop.faults import ShopControl, ShopFault, called
from local.standins.shop.pictures import KINDS, MOST_BYTES, BadPictureError, name_of
from local.standins.shop.schema import page
from local.standins.shop.state import MediaImage, Product, Shop, later

MOST_MEDIA = 250  # of a product
MOST_ALT = 512  # characters
MOST_SOURCE = 2048  # characters of a source's address

SCOPES = {
    "nodes": "read_products",
    "productVariants": "read_products",
    "fileCreate": "write_files",
    "fileDelete": "write_files",
    "fileUpdate": "write_files",
    "productReorderMedia": "write_products",
    "productUpdate": "write_products",
    "stagedUploadsCreate": "write_files",
}

Given = dict[str, Any]
Answer = dict[str, Any]


class Call:
    """One request to a shop, whose fields are answered at one moment; `spent` is what they cost."""

    def __init__(self, shop: Shop, control: ShopControl, operations: Sequence[str]) -> None:
        self.shop = shop
        self.spent = 0.0
        self._control = control
        self._operations = operations

    def resolve(self, source: Any, info: GraphQLResolveInfo[Any], **given: Any) -> Any:
        """Answer a field: with what the source has under this name, or its method of this name returns."""
        mutation = info.operation.operation is OperationType.MUTATION
        if source is self:
            self._need(SCOPES.get(info.field_name), info.field_name)
        if source is self and mutation:
            self.spent += price.mutation(given)
            if fault := self._fault("user_error", given):
                error = _error(None, fault.message or "The input value is invalid.", fault.code or "INVALID")
                return {"userErrors": [error], "mediaUserErrors": [error]}
            self.shop.mutations[info.field_name] += 1
        name = info.field_name
        value = source.get(name) if isinstance(source, dict) else getattr(source, to_snake(name))
        value = value(**{to_snake(each): one for each, one in given.items()}) if callable(value) else value
        self.spent += 0 if mutation else price.actual(value, info)
        return value

    def _need(self, scope: str | None, field: str) -> None:
        if scope and scope not in self.shop.scopes:
            required = f"`{scope}` access scope."
            raise GraphQLError(
                f"Access denied for {field} field. Required access: {required}",
                extensions={"code": "ACCESS_DENIED", "requiredAccess": required},
            )

    def _fault(self, kind: str, said: Any) -> ShopFault | None:
        text = called(self.shop.domain, self._operations, json.dumps(said, ensure_ascii=False))
        return self._control.take([kind], text, "graphql")

    # ------------------------------------------------------------------ queries

    def current_app_installation(self) -> Answer:
        return {"accessScopes": [{"handle": scope} for scope in sorted(self.shop.scopes)]}

    def nodes(self, ids: list[str]) -> list[Product | MediaImage | None]:
        return [self.shop.products.get(each) or self.shop.pictures.get(each) for each in ids]

    def product_variants(self, **asked: Any) -> Answer:
        variants = (variant for product in self.shop.products.values() for variant in product.variants)
        return page(enumerate(variants), **asked)

    # ------------------------------------------------------------------ products

    def product_update(self, product: Given | None = None, media: list[Given] | None = None) -> Answer:
        """Add media after the last one; one input that is wrong leaves all undone."""
        found, added = self.shop.products.get((product or {}).get("id", "")), media or []
        if found is None:
            return {"userErrors": [_error(["id"], "Product does not exist")]}
        errors = [_error(["media", *path], *more) for path, *more in _wrong_sources(added)]
        if len(found.pictures) + len(added) > MOST_MEDIA:
            errors.append(_error(["media"], f"Exceeded the limit of {MOST_MEDIA} media per product"))
        for one in added if not errors else []:
            found.attach(self._new_picture("productUpdate", one, {"product": found.id, **one}))
        return {"product": found, "userErrors": errors}

    def product_reorder_media(self, id: str, moves: list[Given]) -> Answer:  # noqa: A002 - as Shopify's schema names it
        """Start a job that moves the media; what it says of itself is not spoken here."""
        product = self.shop.products.get(id)
        if product is None:
            return {"mediaUserErrors": [_error(["id"], "Product does not exist", "PRODUCT_DOES_NOT_EXIST")]}
        errors, found = [], []
        for index, move in enumerate(moves):
            picture, path = self.shop.pictures.get(move["id"]), ("moves", index, "id")
            if picture is None:
                errors.append(_error(path, f"Media id {move['id']} does not exist", "MEDIA_DOES_NOT_EXIST"))
            elif picture not in product.pictures:
                message = "Media does not exist on the given product"
                errors.append(_error(path, message, "MEDIA_DOES_NOT_EXIST_ON_PRODUCT"))
            else:
                found.append((picture, move["newPosition"]))
        if not errors:
            later(product.reorder(found))
        return {"mediaUserErrors": errors}

    # ------------------------------------------------------------------ files

    def file_create(self, files: list[Given]) -> Answer:
        """Create all or none."""
        if errors := [_error(["files", *path], *more) for path, *more in _wrong_sources(files)]:
            return {"files": [], "userErrors": errors}
        return {"files": [self._new_picture("fileCreate", one, one) for one in files], "userErrors": []}

    def _new_picture(self, operation: str, given: Given, said: Given) -> MediaImage:
        fault = self._fault("processing_failed", said)
        failure = BadPictureError(fault.code or "IMAGE_DOWNLOAD_FAILURE", fault.message or "") if fault else None
        alt, filename = given.get("alt") or "", given.get("filename")
        return self.shop.add_picture(given["originalSource"], alt, filename, operation, failure)

    def file_update(self, files: list[Given]) -> Answer:
        """Update files; what is unknown, not ready or wrong leaves all undone, later trouble is a file's own."""
        if any(one.get("referencesToAdd") or one.get("referencesToRemove") for one in files):
            self._need("write_products", "fileUpdate")
        if errors := list(self._wrong_updates(files)):
            return {"files": [], "userErrors": errors}
        updated, fault = [], self._fault("partial", files)
        for index, one in enumerate(files):
            picture = self.shop.pictures[one["id"]]
            added = [self.shop.products[each] for each in one.get("referencesToAdd") or []]
            if fault and index == len(files) - 1:
                message = fault.message or "File has a pending operation."
                errors.append(_error(["files", index], message, fault.code or "FILE_LOCKED"))
            elif any(len(each.pictures) >= MOST_MEDIA and picture not in each.pictures for each in added):
                message = f"Exceeded the limit of {MOST_MEDIA} media per product"
                errors.append(_error(["files", index, "referencesToAdd"], message, "PRODUCT_MEDIA_LIMIT_EXCEEDED"))
            else:
                picture.describe(picture.alt if one.get("alt") is None else one["alt"])
                for product in added:
                    product.attach(picture)
                for each in one.get("referencesToRemove") or []:
                    self.shop.products[each].detach(picture)
                updated.append(picture)
        return {"files": updated, "userErrors": errors}

    def _wrong_updates(self, files: list[Given]) -> Iterator[Answer]:
        found = [self.shop.pictures.get(one["id"]) for one in files]
        if None in found:
            yield self._not_there("files", (one["id"] for one in files))
            return
        if any(picture and picture.status != "READY" for picture in found):
            yield _error(["files"], "Non-ready files cannot be updated.", "NON_READY_STATE")
            return
        for index, one in enumerate(files):
            if len(one.get("alt") or "") > MOST_ALT:
                yield _error(["files", index, "alt"], *_LONG_ALT)
            referred = [*(one.get("referencesToAdd") or []), *(one.get("referencesToRemove") or [])]
            if not set(referred) <= self.shop.products.keys():
                yield _error(["files"], "The reference target does not exist", "REFERENCE_TARGET_DOES_NOT_EXIST")

    def file_delete(self, file_ids: list[str]) -> Answer:
        """Delete all or none."""
        ids = list(dict.fromkeys(file_ids))
        if not set(ids) <= self.shop.pictures.keys():
            return {"userErrors": [self._not_there("fileIds", ids)]}
        for each in ids:
            self.shop.delete_picture(self.shop.pictures[each])
        return {"deletedFileIds": ids, "userErrors": []}

    def _not_there(self, field: str, ids: Iterable[str]) -> Answer:
        missing = [each for each in dict.fromkeys(ids) if each not in self.shop.pictures]
        words = ("id", "does") if len(missing) == 1 else ("ids", "do")
        return _error([field], f"File {words[0]} {','.join(missing)} {words[1]} not exist.", "FILE_DOES_NOT_EXIST")

    # ------------------------------------------------------------------ staged uploads

    def staged_uploads_create(self, input: list[Given]) -> Answer:  # noqa: A002 - as Shopify's schema names it
        targets, errors = [], []
        for index, one in enumerate(input):
            if one["mimeType"].removeprefix("image/").upper() not in KINDS:
                errors.append(_error(["input", index, "mimeType"], f"{one['mimeType']} is not a recognized format"))
            elif one["httpMethod"] != "POST":
                errors.append(_error(["input", index, "httpMethod"], "Only POST is spoken here"))
            else:
                targets.append(self._new_target(one))
                continue
            targets.append({"parameters": []})
        return {"stagedTargets": targets, "userErrors": errors}

    def _new_target(self, given: Given) -> Answer:
        """Make a place to upload to, with parameters as Google's storage has them, which the form has to repeat."""
        url, key = f"{self.shop.url}/staged-uploads/", f"tmp/files/{uuid.uuid4()}/{name_of(given['filename'])}"
        policy = {"conditions": [["content-length-range", 1, MOST_BYTES]], "key": key}
        form = {
            "Content-Type": given["mimeType"],
            "success_action_status": "201",
            "acl": "private",
            "key": key,
            "x-goog-algorithm": "GOOG4-RSA-SHA256",
            "x-goog-signature": secrets.token_hex(32),
            "policy": base64.b64encode(json.dumps(policy).encode()).decode(),
        }
        self.shop.targets[url + key] = form
        parameters = [{"name": name, "value": value} for name, value in form.items()]
        return {"url": url, "resourceUrl": url + key, "parameters": parameters}


_LONG_ALT = (f"The alt value exceeds the maximum limit of {MOST_ALT} characters.", "ALT_VALUE_LIMIT_EXCEEDED")


def _error(path: Sequence[str | int] | None, message: str, code: str | None = None) -> Answer:
    return {"field": path and [str(part) for part in path], "message": message, "code": code}


def _wrong_sources(inputs: list[Given]) -> Iterator[tuple[list[str | int], str, str]]:
    """Yield what is wrong with new pictures: where, the message, and its code. Raises GraphQLError."""
    for index, given in enumerate(inputs):
        source, filename = given["originalSource"], given.get("filename")
        if not 0 < len(source) <= MOST_SOURCE:
            limit = f"long (maximum is {MOST_SOURCE})" if source else "short (minimum is 1)"
            raise GraphQLError(f"originalSource is too {limit}", extensions={"code": "INVALID_FIELD_ARGUMENTS"})
        if not source.startswith(("http://", "https://")):
            code = "INVALID_IMAGE_SOURCE_URL" if "://" in source else "INVALID"
            yield [index, "originalSource"], "File URL is invalid", code
        elif len(given.get("alt") or "") > MOST_ALT:
            yield [index, "alt"], *_LONG_ALT
        elif filename and _suffix(filename) != _suffix(name_of(source)):
            message = "Provided filename extension must match original source."
            yield [index, "filename"], message, "MISMATCHED_FILENAME_AND_ORIGINAL_SOURCE"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
