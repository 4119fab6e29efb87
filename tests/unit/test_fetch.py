"""Fetching a picture, with names and hosts made up here: no sockets."""

from __future__ import annotations

import gzip
import io
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.connection import HTTPConnection, HTTPSConnection

from lookbook import fetch
from lookbook.errors import SourceImageError
from lookbook.fetch import (
    Destination,
    SourceUnavailableError,
    connection_to,
    content_name,
    fetch_picture,
    is_public,
    picture_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
PUBLIC = "93.184.215.14"
URL = "https://shop.example/shirt.png"


class FakeSocket:
    """What a connection needs of a socket: it takes the request and has the answer ready."""

    def __init__(self, answer: io.BytesIO) -> None:
        self.answer = answer
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def makefile(self, _mode: str) -> io.BytesIO:
        return self.answer

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def close(self) -> None:
        pass


@dataclass
class Internet:
    """Hosts with their addresses, URLs with their raw HTTP answers, and what was asked of them."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    answers: dict[str, bytes | io.BytesIO | Exception] = field(default_factory=dict)
    asked: list[tuple[str, FakeSocket]] = field(default_factory=list)
    now: float = 1000.0

    def resolve(self, host: str, port: int) -> list[tuple[Any, Any, Any, Any, tuple[Any, ...]]]:
        addresses = self.hosts.get(host, [PUBLIC])
        # As getaddrinfo does, each address once for every kind of socket.
        return [(0, kind, 0, "", (address, port)) for address in addresses for kind in (1, 2)]

    def open(self, destination: Destination, address: str, timeout: float) -> HTTPConnection:
        assert 0 < timeout <= fetch.CONNECT_SECONDS
        answer = self.answers[f"{destination.scheme}://{destination.host_header}{destination.target}"]
        if isinstance(answer, Exception):
            raise answer
        sock = FakeSocket(io.BytesIO(answer) if isinstance(answer, bytes) else answer)
        self.asked.append((address, sock))
        connection = HTTPConnection(address, destination.port)
        connection.sock = cast("socket.socket", sock)
        return connection

    def fetch(self, url: str = URL, *, allow_private: bool = False) -> bytes:
        return fetch_picture(
            url,
            allow_private=allow_private,
            resolve=self.resolve,
            open_connection=self.open,
            clock=lambda: self.now,
        )

    def request(self, number: int) -> list[str]:
        return self.asked[number][1].sent.decode().split("\r\n")


def answer(body: bytes = PICTURE, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(to: str, status: str = "302 Found", **headers: str) -> bytes:
    return answer(b"", status, Location=to, **headers)


# ---------------------------------------------------------------- what the bytes are


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\x10\0\0\0WAVE", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_picture_type(data: bytes, kind: str | None) -> None:
    assert picture_type(data) == kind


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\xef\xbb\xbf\n <HTML><body><svg>", "an HTML page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
        (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg>', "an SVG drawing"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "an HTML or XML page"),
        (b' {"error": "gone"}', "JSON"),
        (b"\0\0\0\x1cftypavif", "an AVIF or HEIC picture"),
        (b"\0\0\0\x1cftypheic", "an AVIF or HEIC picture"),
        (b"\0\0\0\x1cftypisom", "a video"),
        (b"II*\0", "a TIFF picture"),
        (b"BM6\0", "a BMP picture"),
        (b"\0\0\1\0\1\0", "an icon"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\3\4", "a ZIP file"),
        (b"hello", "a file of another kind"),
    ],
)
def test_content_name(data: bytes, name: str) -> None:
    assert content_name(data) == name


# ---------------------------------------------------------------- which addresses are public

SPECIAL_4 = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
"""
SPECIAL_6 = """
    ::/128 ::1/128 ::/96 ::ffff:0:0:0/96 64:ff9b:1::/48 100::/64 2001::/32 2001:db8::/32 3fff::/20 5f00::/16
    fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
NETWORKS_4 = [ipaddress.IPv4Network(network) for network in SPECIAL_4.split()]
NETWORKS_6 = [ipaddress.IPv6Network(network) for network in SPECIAL_6.split()]


def within(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> st.SearchStrategy[str]:
    first, last = int(network[0]), int(network[-1])
    return st.integers(first, last).map(lambda number: str(type(network[0])(number)))


@given(st.one_of([*map(within, NETWORKS_4), *map(within, NETWORKS_6)]))
@example("169.254.169.254")  # the metadata of a cloud machine
@example("169.254.170.2")  # the credentials of a container
@example("fd00:ec2::254")
@example("100.100.100.200")
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4).filter(lambda ip: not any(ip in network for network in NETWORKS_4)))
def test_all_other_ipv4_addresses_are_public(ip: ipaddress.IPv4Address) -> None:
    assert is_public(str(ip))


@given(st.one_of([st.ip_addresses(v=4).map(str), *map(within, NETWORKS_4)]))
@example("127.0.0.1")
@example("8.8.8.8")
def test_ipv4_inside_ipv6_is_judged_as_the_ipv4_address(address: str) -> None:
    number = int(ipaddress.IPv4Address(address))
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | number)
    nat64 = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number)
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)
    assert {is_public(str(ip)) for ip in (mapped, nat64, six_to_four)} == {is_public(address)}


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("2606:4700::6810:84e5", True),
        ("2a00:1450:4001:81b::200e", True),
        ("fe80::1%eth0", False),
        ("2606:4700::1%eth0", False),
        ("shop.example", False),
        ("0177.0.0.1", False),
        ("", False),
    ],
)
def test_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


# ---------------------------------------------------------------- a picture comes


def test_a_picture_is_fetched_from_the_address_that_was_checked() -> None:
    # Given a host with two addresses
    net = Internet(hosts={"shop.example": [PUBLIC, "2606:4700::1"]}, answers={URL: answer()})
    # When its picture is fetched
    data = net.fetch()
    # Then it came whole, from the first of the addresses
    assert data == PICTURE
    assert [address for address, _ in net.asked] == [PUBLIC]


def test_the_request_names_the_host_and_carries_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a proxy in the environment, and an address with spaces and letters that a URL cannot have
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    net = Internet(answers={"https://shop.example/a%20%C3%A9.png?x-oss-process=resize,w_9": answer()})
    # When
    net.fetch(" https://Shop.example/a é.png?x-oss-process=resize,w_9#top\n")
    # Then
    first, *headers = net.request(0)
    assert first == "GET /a%20%C3%A9.png?x-oss-process=resize,w_9 HTTP/1.1"
    assert "Host: shop.example" in headers
    assert "Accept-Encoding: identity" in headers
    assert {line.partition(":")[0] for line in headers if line} == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


def test_a_tls_connection_goes_to_the_address_and_checks_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    # Given
    destination = Destination("https", "shop.example", 443, "/")
    # When
    connection = connection_to(destination, PUBLIC, 3)
    # Then
    assert isinstance(connection, HTTPSConnection)
    assert (connection.host, connection.port, connection.proxy) == (PUBLIC, 443, None)
    assert connection.server_hostname == "shop.example"
    assert connection.ssl_context is not None
    assert connection.ssl_context.check_hostname
    assert connection.ssl_context.verify_mode == ssl.CERT_REQUIRED


def test_compressed_and_chunked_answers_are_understood() -> None:
    # Given a host that compresses although it was asked not to, and sends in chunks
    body = gzip.compress(PICTURE)
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:50], body[50:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    # When, Then
    assert Internet(answers={URL: head + chunked}).fetch() == PICTURE


def test_the_content_type_is_not_believed() -> None:
    net = Internet(answers={URL: answer(Content_Type="text/html")})
    assert net.fetch() == PICTURE


def test_the_next_address_is_tried_when_one_takes_no_connection() -> None:
    # Given a host whose IPv6 address cannot be reached
    net = Internet(hosts={"shop.example": ["2606:4700::1", PUBLIC]}, answers={URL: answer()})

    def open_connection(destination: Destination, address: str, timeout: float) -> HTTPConnection:
        if ":" in address:
            raise urllib3.exceptions.NewConnectionError(HTTPConnection(address), "no route")
        return net.open(destination, address, timeout)

    # When, Then
    assert fetch_picture(URL, resolve=net.resolve, open_connection=open_connection) == PICTURE


def test_on_a_local_cloud_http_any_port_and_private_addresses_are_allowed() -> None:
    net = Internet(hosts={"127.0.0.1": ["127.0.0.1"]}, answers={"http://127.0.0.1:9000/shirt.png": answer()})
    assert net.fetch("http://127.0.0.1:9000/shirt.png", allow_private=True) == PICTURE
    assert "Host: 127.0.0.1:9000" in net.request(0)


# ---------------------------------------------------------------- addresses that are refused


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://shop.example/a.png", "shop.example begins with http://"),
        ("ftp://shop.example/a.png", "https://"),
        ("file:///etc/passwd", "https://"),
        ("data:image/png;base64,AAAA", "not a valid web address|https://"),
        ("shop.example/a.png", "https://"),
        ("//shop.example/a.png", "https://"),
        ("https:///a.png", "https://|valid"),
        ("", "https://"),
        ("https://shop.example:99999/a.png", "valid"),
        ("https://shop.example:8443/a.png", "port 8443"),
        ("https://me:SECRET@shop.example/a.png", "shop.example carries a user name"),
        ("https://SECRET@shop.example/a.png", "shop.example carries a user name"),
        ("https://shop%25example/a.png", "no valid host"),
        ("https://shop .example/a.png", "valid"),
        ("https://127.1/a.png", "no valid host"),
        ("https://2130706433/a.png", "no valid host"),
        ("https://0x7f000001/a.png", "no valid host"),
        ("https://0x7f.1/a.png", "no valid host"),
        ("https://0177.0.0.1/a.png", "no valid host"),
        ("https://127.0.0.1./a.png", "no valid host"),
        ("https://[fe80::1/a.png", "valid"),
    ],
)
def test_an_address_that_is_not_fetched(url: str, says: str) -> None:
    net = Internet()
    with pytest.raises(SourceImageError, match=says) as refused:
        net.fetch(url)
    assert type(refused.value) is SourceImageError
    assert "SECRET" not in str(refused.value)
    assert not net.asked


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("169.254.169.254", ["169.254.169.254"]),
        ("0.0.0.0", ["0.0.0.0"]),  # noqa: S104 - nothing is bound to it
        ("[::1]", ["::1"]),
        ("[::ffff:a00:1]", ["::ffff:a00:1"]),
        ("inside.example", ["10.0.0.7"]),
        ("both.example", [PUBLIC, "10.0.0.7"]),
        ("both.example", [PUBLIC, "fd00::1"]),
        ("nat64.example", ["64:ff9b::a9fe:a9fe"]),
    ],
)
def test_a_host_with_any_address_that_is_not_public_is_not_asked(host: str, addresses: list[str]) -> None:
    # Given
    net = Internet(hosts={host.strip("[]"): addresses})
    # When
    with pytest.raises(SourceImageError, match="not on the public internet") as refused:
        net.fetch(f"https://{host}/a.png?token=SECRET")
    # Then
    assert type(refused.value) is SourceImageError
    assert "SECRET" not in str(refused.value)
    assert not net.asked


# ---------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_followed_without_its_cookies(status: str) -> None:
    # Given a host that sets a cookie and sends us on, first within itself, then to another
    net = Internet(
        hosts={"cdn.example": ["93.184.215.15"]},
        answers={
            URL: moved("../b.png", status, Set_Cookie="id=1"),
            "https://shop.example/b.png": moved("//cdn.example/c.png", status),
            "https://cdn.example/c.png": answer(),
        },
    )
    # When
    data = net.fetch()
    # Then
    assert data == PICTURE
    assert [address for address, _ in net.asked] == [PUBLIC, PUBLIC, "93.184.215.15"]
    assert "Host: cdn.example" in net.request(2)
    assert not any("cookie" in line.lower() for number in (1, 2) for line in net.request(number))


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("https://inside.example/", "inside.example is not on the public internet"),
        ("https://169.254.169.254/latest/meta-data/", "169.254.169.254 is not on the public internet"),
        ("http://cdn.example/a.png", "http://"),
        ("https://me:SECRET@cdn.example/", "user name"),
        ("https://cdn.example:22/", "port 22"),
        ("file:///etc/passwd", "https://"),
        ("https://[oops", "not valid|valid"),
    ],
)
def test_where_a_redirect_leads_is_checked_like_the_first_address(to: str, says: str) -> None:
    net = Internet(
        hosts={"inside.example": ["10.0.0.7"], "169.254.169.254": ["169.254.169.254"]}, answers={URL: moved(to)}
    )
    with pytest.raises(SourceImageError, match=says) as refused:
        net.fetch()
    assert "SECRET" not in str(refused.value)
    assert len(net.asked) == 1


def test_a_name_is_looked_up_anew_for_each_redirect_and_checked_again() -> None:
    # Given a host whose name leads inside at the second look-up
    looked_up: list[str] = []
    net = Internet(answers={URL: moved("/b.png")})

    def resolve(host: str, port: int) -> list[tuple[Any, Any, Any, Any, tuple[Any, ...]]]:
        looked_up.append(host)
        return [(0, 1, 0, "", (PUBLIC if len(looked_up) == 1 else "10.0.0.7", port))]

    # When, Then
    with pytest.raises(SourceImageError, match="not on the public internet"):
        fetch_picture(URL, resolve=resolve, open_connection=net.open)
    # And each request took one look-up: none was made behind the check
    assert looked_up == ["shop.example", "shop.example"]
    assert len(net.asked) == 1


@pytest.mark.parametrize(("redirects", "works"), [(5, True), (6, False)])
def test_at_most_five_redirects(redirects: int, works: bool) -> None:
    # Given a chain of redirects
    answers: dict[str, bytes | io.BytesIO | Exception] = {
        f"https://shop.example/{number}": moved(f"/{number + 1}") for number in range(redirects)
    }
    answers[f"https://shop.example/{redirects}"] = answer()
    net = Internet(answers=answers)
    # When, Then
    if works:
        assert net.fetch("https://shop.example/0") == PICTURE
    else:
        with pytest.raises(SourceImageError, match="more than 5 times"):
            net.fetch("https://shop.example/0")
        assert len(net.asked) == 6


# ---------------------------------------------------------------- hosts that do not give a picture


@pytest.mark.parametrize(
    ("status", "temporary"),
    [
        ("404 Not Found", False),
        ("410 Gone", False),
        ("403 Forbidden", False),
        ("401 Unauthorized", False),
        ("204 No Content", False),
        ("206 Partial Content", False),
        ("302 Found", False),  # without a Location
        ("408 Request Timeout", True),
        ("429 Too Many Requests", True),
        ("500 Internal Server Error", True),
        ("503 Slow Down", True),
    ],
)
def test_only_status_200_is_a_picture(status: str, temporary: bool) -> None:
    net = Internet(answers={f"{URL}?Signature=SECRET": answer(status=status)})
    with pytest.raises(SourceImageError, match=f"shop.example .*{status[:3]}") as failed:
        net.fetch(f"{URL}?Signature=SECRET")
    assert isinstance(failed.value, SourceUnavailableError) is temporary
    assert "SECRET" not in str(failed.value)


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (urllib3.exceptions.NewConnectionError(HTTPConnection("x"), "refused"), True),
        (urllib3.exceptions.ConnectTimeoutError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ssl.SSLError(), True),
        (ssl.SSLCertVerificationError(), False),
    ],
)
def test_a_connection_that_fails(error: Exception, temporary: bool) -> None:
    net = Internet(answers={URL: error})
    with pytest.raises(SourceImageError, match=r"shop\.example") as failed:
        net.fetch()
    assert isinstance(failed.value, SourceUnavailableError) is temporary


@pytest.mark.parametrize(
    "raw",
    [b"", b"nonsense\r\n\r\n", answer(Content_Length=str(len(PICTURE) + 1))],
    ids=["closed", "not HTTP", "cut short"],
)
def test_a_connection_that_breaks_off_is_temporary(raw: bytes) -> None:
    net = Internet(answers={URL: raw})
    with pytest.raises(SourceUnavailableError, match=r"The connection to shop\.example failed"):
        net.fetch()


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), False),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), True),
        (UnicodeError("label too long"), False),
    ],
)
def test_a_name_that_is_not_found(error: Exception, temporary: bool) -> None:
    def resolve(_host: str, _port: int) -> list[tuple[Any, Any, Any, Any, tuple[Any, ...]]]:
        raise error

    with pytest.raises(SourceImageError, match=r"shop\.example") as failed:
        fetch_picture(URL, resolve=resolve)
    assert isinstance(failed.value, SourceUnavailableError) is temporary


def test_a_name_without_addresses_is_not_found() -> None:
    net = Internet(hosts={"shop.example": []})
    with pytest.raises(SourceImageError, match=r"There is no host shop\.example"):
        net.fetch()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<!doctype html><title>Sorry</title>", "shop.example sent an HTML page, not a picture"),
        (b"<svg onload='alert(1)'/>", "an SVG drawing"),
        (b"", "an empty file"),
        (b"\0" * 5000, "a file of another kind"),
    ],
)
def test_what_is_no_picture_is_refused_and_named(body: bytes, says: str) -> None:
    net = Internet(answers={URL: answer(body, Content_Type="image/png")})
    with pytest.raises(SourceImageError, match=says) as failed:
        net.fetch()
    assert type(failed.value) is SourceImageError


# ---------------------------------------------------------------- limits of size and time


def test_a_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    # Given a host that announces more than 20 MB
    raw = io.BytesIO(answer(Content_Length=str(fetch.MAX_BYTES + 1)))
    net = Internet(answers={URL: raw})
    # When
    with pytest.raises(SourceImageError, match="larger than 20 MB"):
        net.fetch()
    # Then
    assert net.asked[0][1].answer.closed


@pytest.mark.parametrize("length", [20_000, 20_001])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_is_not_announced_is_counted(length: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a limit, and a body without a length that expands to about as much
    monkeypatch.setattr(fetch, "MAX_BYTES", 20_000)
    body = PICTURE.ljust(length, b"\0")
    sent = gzip.compress(body) if encoding == "gzip" else body
    net = Internet(answers={URL: f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode() + sent})
    # When, Then
    if length <= 20_000:
        assert net.fetch() == body
    else:
        with pytest.raises(SourceImageError, match="larger than"):
            net.fetch()


class Trickle(io.BytesIO):
    """An answer that takes its time over every piece of the body."""

    def __init__(self, raw: bytes, wait: Callable[[], None]) -> None:
        super().__init__(raw)
        self.wait = wait

    def read1(self, size: int | None = -1, /) -> bytes:
        self.wait()
        return super().read1(min(100, size or 100))


@pytest.mark.parametrize(("seconds", "works"), [(0.1, True), (0.5, False)])
def test_ten_seconds_for_everything(seconds: float, works: bool) -> None:
    # Given a host that sends 52 pieces, one every so often
    net = Internet()

    def wait() -> None:
        net.now += seconds

    net.answers[URL] = Trickle(answer(), wait)
    # When, Then
    if works:
        assert net.fetch() == PICTURE
    else:
        with pytest.raises(SourceUnavailableError, match=r"shop\.example took too long"):
            net.fetch()


def test_redirects_share_the_ten_seconds() -> None:
    # Given hosts that take four seconds each to send us on
    net = Internet(answers={f"https://shop.example/{number}": moved(f"/{number + 1}") for number in range(5)})

    def resolve(host: str, port: int) -> list[tuple[Any, Any, Any, Any, tuple[Any, ...]]]:
        net.now += 4
        return net.resolve(host, port)

    # When
    with pytest.raises(SourceUnavailableError, match="took too long"):
        fetch_picture("https://shop.example/0", resolve=resolve, open_connection=net.open, clock=lambda: net.now)
    # Then the third was looked up, and not asked any more
    assert len(net.asked) == 2


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_look_up_that_hangs_is_left_behind(stuck: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a resolver that does not answer
    monkeypatch.setattr(fetch, "MAX_SECONDS", 0.05)

    def resolve(_host: str, _port: int) -> list[tuple[Any, Any, Any, Any, tuple[Any, ...]]]:
        stuck.wait()
        return []

    # When, Then
    with pytest.raises(SourceUnavailableError, match=r"Looking up shop\.example took too long"):
        fetch_picture(URL, resolve=resolve)
