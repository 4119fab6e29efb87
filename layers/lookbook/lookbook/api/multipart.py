"""Reads multipart/form-data (RFC 7578): a form's fields, those with files in them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookbook.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_FORM = "The body is no form: send it as multipart/form-data, as curl does with -F image=@picture.jpg."
MOST_PARTS = 100
BROKEN = "The form cannot be read: a part of it is broken, or its end is missing. Send it again."


def parts(content_type: str, body: bytes) -> Iterator[tuple[str | None, bytes]]:
    """Yield each field's name (None if it has none) and bytes; raise InputError for what is no whole form.

    RFC 2046, 5.1.1: each part begins after a line with the boundary, and the last one is followed by the boundary and
    two dashes. Not read with `email.parser`: it would take apart a part that says it is a message itself.
    """
    boundary = _boundary(content_type)
    _preamble, *found = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if not found or not found[-1].startswith(b"--") or len(found) > MOST_PARTS:
        raise InputError(BROKEN)
    for part in found[:-1]:
        padding, _, rest = part.partition(b"\r\n")
        head, blank, data = (b"\r\n" + rest).partition(b"\r\n\r\n")
        if padding.strip(b" \t") or not blank:
            raise InputError(BROKEN)
        yield _name(head), data


def _boundary(content_type: str) -> bytes:
    from email.message import Message  # noqa: PLC0415 - no other request needs it

    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise InputError(NO_FORM)
    return boundary.encode()


def _name(head: bytes) -> str | None:
    from email.parser import HeaderParser  # noqa: PLC0415 - as above

    found = HeaderParser().parsestr(head.decode(errors="replace").lstrip("\r\n"))
    name = found.get_param("name", header="content-disposition")
    return name if isinstance(name, str) else None
