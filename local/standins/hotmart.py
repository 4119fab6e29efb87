"""Stands in for Hotmart: its tokens, an account's products and their offers, its limit of calls and its errors.

Sources: https://developers.hotmart.com/docs/en/start/ (app-auth, pagination, rate-limit, http-response-codes) and the
pages of the products' endpoints there. `POST /security/oauth/token` and, with its bearer token,
`GET /products/api/v1/products` and `GET /products/api/v1/products/{ucode}/offers`; at Hotmart the first is on a host of
its own. A page token is a page's number and size, as Hotmart's are, so what is deleted while somebody reads page after
page moves the others up. `select` and the other endpoints are not spoken. The most products of a page (100) is a guess.

`GET /_products` lists the products with their offers, `POST /_products` adds one (whatever fields are given, even
broken ones; the others have defaults), `PUT /_products/{id}` changes fields, `DELETE /_products/{id}` lets it vanish,
`DELETE /_products` brings the built-in ones back. `GET /_calls` counts the calls by name and by HTTP status,
`DELETE /_calls` forgets them.

Faults besides the connection's (`control.py`): `expired` (the access token that a call brings has expired),
`page_expired` (so has the page token). `match` is sought in "<path>?<query>", of the token's call in its path alone.
"""

import base64
import itertools
import json
import math
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.standins.control import Control, parser, refusal, serve

PAGE, MOST_A_PAGE = 50, 100
STATUSES = frozenset(
    {"DRAFT", "ACTIVE", "PAUSED", "NOT_APPROVED", "IN_REVIEW", "DELETED", "CHANGES_PENDING_ON_PRODUCT"}
)
ERROR_URI = "https://developers.hotmart.com/docs/en/start/http-response-codes/"

Product = dict[str, Any]

_PAGING = frozenset({"max_results", "page_token"})
_FILTERS = frozenset({"id", "status", "format"})
_FIRST_CREATED = 1_586_459_699_000  # epoch milliseconds
_GENERATED_FROM = 900_001


class RefusedError(Exception):
    """The call is answered with this HTTP status and error."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error


# --- the account's products ----------------------------------------------------------------------------------------


def offer(price: float, currency: str, description: str, name: str = "", *, main: bool = True, **more: Any) -> Product:
    """An offer as Hotmart tells it; its code is made when it is given to a product."""
    return {
        "name": name,
        "description": description,
        "price": {"value": price, "currency_code": currency},
        "payment_mode": "UNIQUE_PAYMENT",
        "is_main_offer": main,
        "is_currency_conversion_enabled": False,
        "is_smart_recovery_enabled": False,
        **more,
    }


_CATALOGUE: list[tuple[int, str, str, str, list[Product]]] = [
    (
        698441,
        "Confeitaria Artesanal em Casa",
        "ONLINE_COURSE",
        "ACTIVE",
        [
            offer(
                97,
                "BRL",
                "Aprenda a fazer bolos, tortas e doces finos na sua cozinha, sem equipamentos caros. São 42 aulas em "
                "vídeo, com receitas testadas e uma planilha para calcular o preço de venda.",
                "Acesso vitalício",
            )
        ],
    ),
    (
        712093,
        "Yoga para Iniciantes",
        "ONLINE_COURSE",
        "ACTIVE",
        [
            offer(
                29.9,
                "BRL",
                "Plano mensal: uma prática nova por semana.",
                "Mensal",
                main=False,
                payment_mode="SUBSCRIPTION",
            ),
            offer(
                197,
                "BRL",
                "Vinte minutos por dia para ganhar força, flexibilidade e calma. Um programa de doze semanas para quem "
                "nunca subiu em um tapete, com variações para todas as idades.",
                "Programa completo",
            ),
            offer(247, "BRL", "O programa completo e três encontros ao vivo.", "Com mentoria", main=False),
        ],
    ),
    (
        745510,
        "Fotografía de Producto con el Móvil",
        "ONLINE_COURSE",
        "ACTIVE",
        [
            offer(
                49,
                "EUR",
                "Haz fotos que venden con el teléfono que ya tienes: luz de ventana, fondos caseros y edición "
                "gratuita. Incluye una guía de encuadres y ejercicios con corrección.",
            )
        ],
    ),
    (
        751204,
        "Marmitas Fit: 60 Receitas para Congelar",
        "EBOOK",
        "ACTIVE",
        [
            offer(
                37,
                "BRL",
                "Cozinhe uma vez e coma bem a semana toda. Sessenta receitas com lista de compras, tabela nutricional "
                "e o passo a passo do congelamento.",
            )
        ],
    ),
    (
        768833,
        "Finanzas sin Drama para Autónomos",
        "EBOOK",
        "ACTIVE",
        [
            offer(
                19.5,
                "EUR",
                "Impuestos, facturas y ahorro explicados para quien trabaja por su cuenta. Con plantillas que puedes "
                "usar desde el primer día.",
            )
        ],
    ),
    (
        780417,
        "The Quiet Productivity Club",
        "COMMUNITY",
        "ACTIVE",
        [
            offer(
                12,
                "USD",
                "A community for people who want to do deep work without burning out. Weekly focus sessions, a library "
                "of templates, and a friendly place to ask for help.",
                payment_mode="SUBSCRIPTION",
            )
        ],
    ),
    (
        803356,
        "Copywriter Assistant for Course Creators",
        "AGENT",
        "ACTIVE",
        [
            offer(
                24.99,
                "USD",
                "An AI agent that writes sales pages, e-mails and ads in your own voice. Give it your course outline "
                "and it drafts a launch in an afternoon.",
            )
        ],
    ),
    (815002, "Clube de Leitura Entre Linhas", "COMMUNITY", "ACTIVE", []),
    (
        827719,
        "Violão do Zero em 30 Dias",
        "ONLINE_COURSE",
        "DRAFT",
        [offer(147, "BRL", "Do primeiro acorde à primeira música, com aulas curtas e cifras para imprimir.")],
    ),
    (
        834460,
        "Huerto Urbano en el Balcón",
        "EBOOK",
        "PAUSED",
        [offer(15, "EUR", "Tomates, lechugas y hierbas en dos metros cuadrados: calendario de siembra y riego.")],
    ),
    (
        849125,
        "Watercolour Botanicals",
        "ONLINE_COURSE",
        "IN_REVIEW",
        [offer(59, "USD", "Paint leaves, flowers and fruit with confidence, from the first wash to the last detail.")],
    ),
    (
        850973,
        "Planilha de Controle de Estoque",
        "EBOOK",
        "DELETED",
        [offer(27, "BRL", "Uma planilha pronta para controlar entradas, saídas e o estoque mínimo.")],
    ),
]

_SUBJECTS = [
    ("pt", "Marcenaria", "BRL"),
    ("es", "Cerámica", "EUR"),
    ("en", "Bookkeeping", "USD"),
    ("pt", "Costura Criativa", "BRL"),
    ("es", "Cocina Vegana", "USD"),
    ("en", "Landscape Photography", "USD"),
    ("pt", "Inglês para Viagem", "BRL"),
    ("es", "Guitarra Flamenca", "EUR"),
    ("en", "Home Barista Skills", "USD"),
]
_WORDS = {
    "pt": ("{} na Prática, Edição {}", "Aprenda {} do zero com aulas curtas e exercícios que você faz em casa."),
    "es": ("{} Paso a Paso, Edición {}", "Aprende {} desde cero con clases cortas y ejercicios para hacer en casa."),
    "en": ("{} Made Simple, Edition {}", "Learn {} from scratch with short lessons and exercises to do at home."),
}
_FORMATS = ("ONLINE_COURSE", "EBOOK", "COMMUNITY", "AGENT")


def generated(number: int) -> Product:
    """One of any number of further products, always the same for a number from 0."""
    language, subject, currency = _SUBJECTS[number % len(_SUBJECTS)]
    name, description = _WORDS[language]
    return product(
        id=_GENERATED_FROM + number,
        name=name.format(subject, 1 + number // len(_SUBJECTS)),
        format=_FORMATS[number % len(_FORMATS)],
        offers=[offer(19 + number % 80, currency, description.format(subject.lower()))],
    )


def product(**given: Any) -> Product:
    """A product with its offers; what is given is taken as it is."""
    known = given.get("id")
    ucode = str(given.get("ucode") or uuid.uuid5(uuid.NAMESPACE_URL, f"https://hotmart.com/product/{known}"))
    offers = given.get("offers", [offer(47, "BRL", "Um produto novo, com tudo o que você precisa para começar.")])
    codes = (uuid.uuid5(uuid.NAMESPACE_URL, f"{ucode}/{number}").hex[:8] for number in itertools.count())
    return {
        "name": f"Produto {known}",
        "ucode": ucode,
        "status": "ACTIVE",
        "created_at": _FIRST_CREATED + 1000 * known if isinstance(known, int) else _FIRST_CREATED,
        "format": "EBOOK",
        "is_subscription": any(each.get("payment_mode") == "SUBSCRIPTION" for each in offers),
        "warranty_period": 7,
        **given,
        "offers": [{"code": code, **each} for code, each in zip(codes, offers, strict=False)],
    }


class Account:
    """The account's products, in the order of their creation."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.products: list[Product] = []
        self.reset()

    def reset(self) -> None:
        """Have the built-in products, and so many generated ones."""
        self.products = [
            product(id=number, name=name, format=kind, status=status, offers=offers)
            for number, name, kind, status, offers in _CATALOGUE
        ]
        self.products += [generated(number) for number in range(self._count)]

    def add(self, given: Product) -> Product:
        if "id" not in given:
            ids = [each["id"] for each in self.products if isinstance(each["id"], int)]
            given = {"id": max(ids, default=_GENERATED_FROM) + 1, **given}
        self.products.append(product(**given))
        return self.products[-1]

    def find(self, name: str, value: str) -> Product | None:
        return next((each for each in self.products if str(each[name]) == value), None)

    def change(self, known: Product, given: Product) -> Product:
        changed = product(**{**known, **given})
        self.products[self.products.index(known)] = changed
        return changed

    def remove(self, known: Product) -> None:
        self.products.remove(known)


# --- limits and tokens ---------------------------------------------------------------------------------------------


class Quota:
    """So many calls a window, which begins with its first call."""

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._used = 0
        self._ends = 0.0

    def take(self) -> bool:
        """Whether one more call is admitted, which then counts."""
        if time.monotonic() >= self._ends:
            self._used, self._ends = 0, time.monotonic() + self._window
        self._used += 1
        return self._used <= self._most

    def headers(self) -> dict[str, str]:
        left = max(0, self._most - self._used)
        reset = max(0, math.ceil(self._ends - time.monotonic()))
        return {
            "RateLimit-Limit": str(self._most),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(reset),
            "X-RateLimit-Limit-Minute": str(self._most),
            "X-RateLimit-Remaining-Minute": str(left),
        }


class Tokens:
    """The access tokens that were granted."""

    def __init__(self, client_id: str, client_secret: str, basic: str, seconds: float) -> None:
        self._wanted = f"{client_id} {client_secret} {basic}"
        self._seconds = seconds
        self._good_until: dict[str, float] = {}

    def grant(self, client_id: str, client_secret: str, basic: str) -> dict[str, Any]:
        """The answer to right credentials. Raises RefusedError (401)."""
        given = f"{client_id} {client_secret} {basic}"
        if not secrets.compare_digest(given.encode(), self._wanted.encode()):
            raise RefusedError(401, "unauthorized", "Bad credentials")
        token = secrets.token_urlsafe(120)
        self._good_until[token] = time.monotonic() + self._seconds
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": math.floor(self._seconds),
            "scope": "read write",
            "jti": str(uuid.uuid4()),
        }

    def expire(self, token: str) -> None:
        if token in self._good_until:
            self._good_until[token] = -math.inf

    def check(self, header: str) -> str:
        """The token that a call brings. Raises RefusedError (401)."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RefusedError(401, "unauthorized", "Full authentication is required to access this resource.")
        if token not in self._good_until:
            # Hotmart's server does quote it.
            raise RefusedError(401, "invalid_token", f"Invalid access token: {token}")
        if time.monotonic() >= self._good_until[token]:
            raise RefusedError(401, "token_expired", f"Access token expired: {token}")
        return token


# --- over HTTP -----------------------------------------------------------------------------------------------------


class Api:
    """Hotmart over HTTP, both of its hosts in one."""

    def __init__(self, account: Account, tokens: Tokens, quota: Quota, control: Control) -> None:
        self._account = account
        self._tokens = tokens
        self._quota = quota
        self._control = control
        self._calls: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        return [
            Route("/security/oauth/token", self._token, methods=["POST"]),
            Route("/products/api/v1/products", self._products, methods=["GET"]),
            Route("/products/api/v1/products/{ucode}/offers", self._offers, methods=["GET"]),
            Route("/_products", self._list, methods=["GET"]),
            Route("/_products", self._add, methods=["POST"]),
            Route("/_products", self._reset, methods=["DELETE"]),
            Route("/_products/{id}", self._change, methods=["PUT"]),
            Route("/_products/{id}", self._remove, methods=["DELETE"]),
            Route("/_calls", self._list_calls, methods=["GET"]),
            Route("/_calls", self._forget_calls, methods=["DELETE"]),
        ]

    async def _counted(self, call: str, text: str, handle: Callable[[], Awaitable[Response]]) -> Response:
        """What the call answers, a fault's answer with it, counted by name and status."""
        self._calls[call] += 1
        try:
            answer = await self._control.answer(call, text, handle)
        except RefusedError as error:
            answer = refused(error.status, error.error, str(error))
        self._statuses[str(answer.status_code)] += 1
        if call != "token":
            for name, value in self._quota.headers().items():
                answer.headers.setdefault(name, value)
        return answer

    async def _token(self, request: Request) -> Response:
        async def handle() -> Response:
            query = request.query_params
            if query.get("grant_type") != "client_credentials":
                raise RefusedError(400, "invalid_parameter", "grant_type must be client_credentials")
            scheme, _, basic = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "basic":
                raise RefusedError(401, "unauthorized", "Full authentication is required to access this resource.")
            return JSONResponse(self._tokens.grant(query.get("client_id", ""), query.get("client_secret", ""), basic))

        return await self._counted("token", request.url.path, handle)

    async def _products(self, request: Request) -> Response:
        def read() -> dict[str, Any]:
            query = self._read(request, _PAGING | _FILTERS)
            wanted = [each for each in self._account.products if _is_asked_for(each, query)]
            shown = [{name: each[name] for name in each if name != "offers"} for each in wanted]
            return self._page(request, query, shown)

        return await self._answer("products", request, read)

    async def _offers(self, request: Request) -> Response:
        def read() -> dict[str, Any]:
            query = self._read(request, _PAGING)
            known = self._account.find("ucode", request.path_params["ucode"])
            if known is None:
                raise RefusedError(404, "not_found", "The product was not found.")
            return self._page(request, query, known["offers"])

        return await self._answer("offers", request, read)

    async def _answer(self, call: str, request: Request, read: Callable[[], dict[str, Any]]) -> Response:
        text = _text(request)

        async def handle() -> Response:
            header = request.headers.get("Authorization", "")
            if self._control.take(["expired"], text, call):
                self._tokens.expire(header.partition(" ")[2])
            self._tokens.check(header)
            if not self._quota.take():
                raise RefusedError(429, "too_many_requests", "Too many requests were made at the same time.")
            return JSONResponse(read())

        return await self._counted(call, text, handle)

    @staticmethod
    def _read(request: Request, known: frozenset[str]) -> dict[str, list[str]]:
        """The query's values by name. Raises RefusedError (400)."""
        query = {name: request.query_params.getlist(name) for name in request.query_params}
        if unknown := sorted(query.keys() - known):
            raise RefusedError(400, "invalid_parameter", f"There is no parameter {unknown[0]}.")
        for status in query.get("status", []):
            if status not in STATUSES:
                raise RefusedError(400, "invalid_value_parameter", f"{status} is no status.")
        for name in ("id", "max_results"):
            if any(not (value.isdecimal() and int(value)) for value in query.get(name, [])):
                raise RefusedError(400, "invalid_value_parameter", f"{name} must be a number from 1.")
        return query

    def _page(self, request: Request, query: dict[str, list[str]], items: list[Product]) -> dict[str, Any]:
        size = min(MOST_A_PAGE, int(query.get("max_results", [str(PAGE)])[0]))
        number = 1
        if token := query.get("page_token", [""])[0]:
            if self._control.take(["page_expired"], _text(request)):
                raise _bad_page()
            number, size = _read_token(token)
        shown = items[(number - 1) * size : number * size]
        info: dict[str, Any] = {"results_per_page": len(shown)}
        if number * size < len(items):
            info["next_page_token"] = page_token(number + 1, size)
        if number > 1:
            info["prev_page_token"] = page_token(number - 1, size)
        return {"items": shown, "page_info": info}

    # --- the tests' side

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"products": self._account.products})

    async def _add(self, request: Request) -> Response:
        return JSONResponse(self._account.add(await request.json()), 201)

    async def _reset(self, _: Request) -> Response:
        self._account.reset()
        return Response(status_code=204)

    def _named(self, request: Request) -> Product:
        known = self._account.find("id", request.path_params["id"])
        if known is None:
            raise RefusedError(404, "not_found", "There is no such product.")
        return known

    async def _change(self, request: Request) -> Response:
        return JSONResponse(self._account.change(self._named(request), await request.json()))

    async def _remove(self, request: Request) -> Response:
        self._account.remove(self._named(request))
        return Response(status_code=204)

    async def _list_calls(self, _: Request) -> Response:
        return JSONResponse({"count": self._calls.total(), "calls": self._calls, "statuses": self._statuses})

    async def _forget_calls(self, _: Request) -> Response:
        self._calls.clear()
        self._statuses.clear()
        return Response(status_code=204)


def _text(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}"


def _is_asked_for(each: Product, query: dict[str, list[str]]) -> bool:
    return all(str(each[name]) in query[name] for name in _FILTERS & query.keys())


def page_token(number: int, size: int) -> str:
    """What stands for a page, as Hotmart writes it."""
    return base64.b64encode(json.dumps({"page": number, "size": size}, separators=(",", ":")).encode()).decode()


def _read_token(token: str) -> tuple[int, int]:
    """The page's number, from 1, and its size. Raises RefusedError (400)."""
    try:
        found = json.loads(base64.b64decode(token, validate=True))
        number, size = int(found["page"]), int(found["size"])
    except (ValueError, TypeError, KeyError) as error:
        raise _bad_page() from error
    if number < 1 or not 1 <= size <= MOST_A_PAGE:
        raise _bad_page()
    return number, size


def _bad_page() -> RefusedError:
    return RefusedError(400, "invalid_token", "The value of the page_token parameter is invalid.")


def refused(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description, "error_uri": ERROR_URI}, status)


def refuse(status: int) -> Response:
    """Hotmart's own answer of this HTTP status, where it has one; else a proxy's."""
    if status == 429:
        answer = refused(status, "too_many_requests", "Too many requests were made at the same time.")
        answer.headers.update({"RateLimit-Remaining": "0", "RateLimit-Reset": "1"})
        return answer
    if status in {500, 502, 503}:
        return refused(status, "internal_server_error", "An unexpected error occurred. Please try again later.")
    return refusal(status)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RefusedError):
        return refused(error.status, error.error, str(error))
    return refused(404, "not_found", "The URL requested was not found.")


def application(tokens: Tokens, quota: Quota, count: int) -> Starlette:
    """The stand-in as an ASGI application."""
    control = Control(("expired", "page_expired"), refuse=refuse)
    api = Api(Account(count), tokens, quota, control)
    return Starlette(
        routes=[*control.routes(), *api.routes()],
        exception_handlers={RefusedError: _refused, 404: _refused},
    )


def main() -> None:
    arguments = parser("Hotmart's stand-in.")
    arguments.add_argument("--client-id", required=True)
    arguments.add_argument("--client-secret", required=True)
    arguments.add_argument("--basic", required=True, help="the token of the Basic type, without that word")
    arguments.add_argument("--token-seconds", type=float, default=86_400, help="how long an access token is good")
    arguments.add_argument("--per-minute", type=int, default=500, help="calls that are admitted a minute")
    arguments.add_argument("--minute", type=float, default=60, help="seconds that such a minute has")
    arguments.add_argument("--count", type=int, default=0, help="further products, generated")
    given = arguments.parse_args()
    tokens = Tokens(given.client_id, given.client_secret, given.basic.removeprefix("Basic "), given.token_seconds)
    serve(application(tokens, Quota(given.per_minute, given.minute), given.count), given.port)


if __name__ == "__main__":
    main()
