"""Stands in for the supplier's picture host, and for the hosts that a guard against bad addresses has to withstand.

`GET /products/<name>.jpg|png|webp?title=...` (and `/product-images/...`, where the test data's pictures lie) draws a
product photo from the title, or else from the path. `GET /files/<name>` serves real files from `--folder`. Each picture
served is listed at `/_charges` with its path; nothing is charged. For guards: `/redirect?to=URL`, `/redirect-loop`,
`/huge`, `/huge-chunked`, `/html`, `/missing`, `/slow`.
"""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from local.art import draw_garment
from local.standins.control import Control, parser, serve

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}  # also the names of their media types
_HUGE = 21 * 1024 * 1024  # bytes; more than any picture may have
_PIECE = bytes(64 * 1024)
_SLOW = 600  # bytes, one a second
_CACHED = 500  # pictures


def title_of(path: str) -> str:
    """The title a picture's path tells: its last part that is more than a number, dashes as spaces."""
    parts = [PurePosixPath(path).stem, *reversed(PurePosixPath(path).parent.parts)]
    named = [part for part in parts if any(map(str.isalpha, part)) and part != "thumbnail"]
    return (named[0] if named else parts[0]).replace("-", " ").replace("_", " ")


def draw(path: str, title: str) -> bytes:
    """The product photo at a path, in the format that its suffix names."""
    seed = int.from_bytes(sha256(path.encode()).digest()[:4])
    out = io.BytesIO()
    draw_garment(title, seed).save(out, _FORMATS[PurePosixPath(path).suffix.lower()], quality=90)
    return out.getvalue()


class Host:
    """The pictures, drawn once each and kept in memory."""

    def __init__(self, control: Control, folder: Path | None) -> None:
        self._control = control
        self._folder = folder.resolve() if folder else None
        self._drawn: dict[tuple[str, str], asyncio.Future[bytes]] = {}
        self.threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="draw")

    def routes(self) -> list[Route]:
        return [
            Route("/products/{path:path}", self._faulty(self._product)),
            Route("/product-images/{path:path}", self._faulty(self._product)),
            Route("/files/{path:path}", self._faulty(self._file)),
            Route("/redirect", self._faulty(_redirect)),
            Route("/redirect-loop", self._faulty(_redirect_loop)),
            Route("/huge", self._faulty(_huge)),
            Route("/huge-chunked", self._faulty(_huge)),
            Route("/html", self._faulty(_html)),
            Route("/missing", self._faulty(_missing)),
            Route("/slow", self._faulty(_slow)),
        ]

    def _faulty(self, handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            text = f"{request.url.path}?{request.url.query}"
            return await self._control.answer("get", text, lambda: handle(request))

        return answer

    async def _product(self, request: Request) -> Response:
        path = request.url.path
        if PurePosixPath(path).suffix.lower() not in _FORMATS:
            return PlainTextResponse("no such picture", 404)
        key = (path, request.query_params.get("title") or title_of(request.path_params["path"]))
        if key not in self._drawn:
            if len(self._drawn) >= _CACHED:
                del self._drawn[next(iter(self._drawn))]
            self._drawn[key] = asyncio.get_running_loop().run_in_executor(self.threads, draw, *key)
        return self._served(request, await self._drawn[key])

    async def _file(self, request: Request) -> Response:
        if self._folder is None:
            return PlainTextResponse("started without --folder", 404)
        file = (self._folder / request.path_params["path"]).resolve()
        if not file.is_relative_to(self._folder) or not file.is_file():
            return PlainTextResponse("no such file", 404)
        return self._served(request, await asyncio.to_thread(file.read_bytes))

    def _served(self, request: Request, data: bytes) -> Response:
        path = request.url.path
        if self._control.take(["garbage"], path, "get"):
            data = b"this is no picture"
        if request.method == "GET":
            self._control.charge(str(len(self._control.charges) + 1), path=path)
        kind = _FORMATS.get(PurePosixPath(path).suffix.lower())
        return Response(data, media_type=f"image/{kind.lower()}" if kind else "application/octet-stream")


async def _redirect(request: Request) -> Response:
    target = request.query_params.get("to")
    return RedirectResponse(target, 302) if target else PlainTextResponse("where to?", 400)


async def _redirect_loop(_: Request) -> Response:
    return RedirectResponse("/redirect-loop", 302)


async def _huge(request: Request) -> Response:
    """More bytes than a picture may have; `/huge` says so beforehand, `/huge-chunked` does not."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(_HUGE // len(_PIECE)):
            yield _PIECE

    declared = {} if request.url.path == "/huge-chunked" else {"Content-Length": str(_HUGE)}
    return StreamingResponse(pieces(), headers=declared, media_type="image/jpeg")


async def _html(_: Request) -> Response:
    return HTMLResponse("<!doctype html><title>Sign in</title><p>This is not the picture you asked for.")


async def _missing(_: Request) -> Response:
    return PlainTextResponse("no such picture", 404)


async def _slow(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(_SLOW):
            yield b"\xff"
            await asyncio.sleep(1)

    return StreamingResponse(pieces(), media_type="image/jpeg")


def application(folder: Path | None) -> Starlette:
    """The stand-in as an ASGI application; `folder` holds the real files."""
    control = Control(["garbage"])
    host = Host(control, folder)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        host.threads.shutdown(wait=False, cancel_futures=True)

    return Starlette(routes=[*control.routes(), *host.routes()], lifespan=lifespan)


def main() -> None:
    arguments = parser("The supplier's picture host's stand-in.")
    arguments.add_argument("--folder", type=Path, help="folder with the real files of /files/")
    given = arguments.parse_args()
    serve(application(given.folder), given.port)


if __name__ == "__main__":
    main()
