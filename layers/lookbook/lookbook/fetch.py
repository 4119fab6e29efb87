"""Fetch a product's picture from an address that a stranger wrote, without being turned against our own network.

The address is not trusted: each host is resolved here, every resolved address has to be public, and the connection goes
to exactly the address that was checked. A second look-up by the HTTP library could answer otherwise (DNS rebinding).
"""

import functools
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url

from lookbook.errors import SourceImageError

MAX_BYTES = 20 * 1024 * 1024
MAX_REDIRECTS = 5
MAX_SECONDS = 10.0
CONNECT_SECONDS = 3.0

_CHUNK = 64 * 1024
_SNIFF = 1024  # bytes: enough to tell a picture, and to name what came instead
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TEMPORARY = frozenset({408, 425, 429})  # and every 5xx
_HEADERS = {
    "User-Agent": "lookbook",
    # Some hosts choose the format by this header; without it we might be sent AVIF.
    "Accept": "image/jpeg, image/png, image/webp, image/gif",
    "Accept-Encoding": "identity",
}
_NO_SUCH_HOST = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
_STRANGE_HOST = re.compile(r"[^a-z0-9._-]")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")

_OTHER_CONTENT = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"\Z", "an empty file"),
        (rb"....ftyp(avi|hei|mif|msf)", "an AVIF or HEIC picture"),
        (rb"....ftyp", "a video"),
        (rb"II\*\x00|MM\x00\*", "a TIFF picture"),
        (rb"BM", "a BMP picture"),
        (rb"8BPS", "a Photoshop file"),
        (rb"\x00\x00\x01\x00", "an icon"),
        (rb"%PDF", "a PDF"),
        (rb"PK\x03\x04", "a ZIP file"),
        (rb"(?i)[\s\xef\xbb\xbf]*<(!doctype html|html|head|body)", "an HTML page"),
        (rb"(?i)[\s\xef\xbb\xbf]*<(.{0,1000}<)?svg", "an SVG drawing"),
        (rb"[\s\xef\xbb\xbf]*<", "an HTML or XML page"),
        (rb"[\s\xef\xbb\xbf]*[{\[]", "JSON"),
    )
)

# What IANA's special-purpose registries call not global, and `ipaddress` of some Python we run on does not.
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "3fff::/20",  # documentation
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that IANA has given out to the internet
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# As `socket.getaddrinfo`: (family, type, protocol, canonical name, socket address whose first part is the IP address).
Resolve = Callable[[str, int], Sequence[tuple[Any, Any, Any, Any, tuple[Any, ...]]]]

# Destination, IP address, time-out in seconds -> an open connection.
OpenConnection = Callable[["Destination", str, float], HTTPConnection]


class SourceUnavailableError(SourceImageError):
    """The picture cannot be fetched just now (time-out, 429, 5xx, broken connection); later it may be there."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one request goes: what the address says, in the form it is sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        """The `Host` header: the host, in brackets if it is IPv6, and the port if it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _usual_port(self.scheme) else f"{host}:{self.port}"


def picture_type(data: bytes) -> str | None:
    """Tell from its first 12 bytes what a picture is: `jpeg`, `png`, `webp` or `gif`; None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return None


def content_name(data: bytes) -> str:
    """Name in plain words what the first bytes of something that is no picture of ours look like."""
    for pattern, name in _OTHER_CONTENT:
        if pattern.match(data):
            return name
    return "a file of another kind"


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    IPv4 inside IPv6 (mapped, 6to4, NAT64) is judged as the IPv4 address it leads to.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        inner = ipaddress.IPv4Address(ip.packed[-4:]) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip not in _GLOBAL_UNICAST:
            return False
        ip = inner or ip
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _SPECIAL)


def connection_to(destination: Destination, address: str, timeout: float) -> HTTPConnection:
    """Make the connection, not yet opened, that speaks to `destination` at the IP address given, with no look-up.

    `timeout` (seconds) is for the TCP and the TLS handshake each. With TLS, name (SNI) and certificate are the host's.
    """
    if destination.scheme == "http":
        return HTTPConnection(address, destination.port, timeout=timeout)
    return HTTPSConnection(
        address, destination.port, timeout=timeout, server_hostname=destination.host, ssl_context=_tls()
    )


def open_connection(destination: Destination, address: str, timeout: float) -> HTTPConnection:
    """Open that connection. Raises what urllib3, ssl and socket raise."""
    connection = connection_to(destination, address, timeout)
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    return connection


def fetch_picture(
    url: str,
    *,
    allow_private: bool = False,
    resolve: Resolve = socket.getaddrinfo,
    open_connection: OpenConnection = open_connection,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """Fetch a picture: the bytes of a JPEG, PNG, WebP or GIF file, judged by its first bytes alone.

    At most 20 MB, 5 redirects, and 10 seconds from the look-up of the first host to the last byte. `allow_private`
    admits http, any port and private addresses; it is for a local cloud only.
    Raises SourceUnavailableError where another try may help, SourceImageError where it will not; the text names the
    host and never the rest of the address, which may carry a signature.
    """
    deadline = clock() + MAX_SECONDS

    def left() -> float:
        return deadline - clock()

    for _ in range(1 + MAX_REDIRECTS):
        destination = _destination(url, allow_private=allow_private)
        host = destination.host
        try:
            addresses = _addresses(destination, resolve, left())
            if not allow_private and not all(is_public(address) for address in addresses):
                raise SourceImageError(
                    f"{host} is not on the public internet. Give the picture an address that anyone can open."
                )
            with (
                closing(_connect(destination, addresses, open_connection, left)) as connection,
                _cut_off(connection, left()),
            ):
                found = _request(connection, destination, left)
        except ssl.SSLCertVerificationError as error:
            raise SourceImageError(f"{host} has no valid certificate for https.") from error
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            late = isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError) or left() <= 0
            # urllib3 counts a refused connection among its time-outs.
            if late and not isinstance(error, urllib3.exceptions.NewConnectionError):
                raise SourceUnavailableError(f"{host} took too long to answer.") from error
            raise SourceUnavailableError(f"The connection to {host} failed.") from error
        if isinstance(found, bytes):
            return found
        try:
            url = urljoin(url, found)
        except ValueError as error:
            raise SourceImageError(f"{host} leads to an address that is not valid.") from error
    raise SourceImageError(f"{host} leads from one address to the next, more than {MAX_REDIRECTS} times.")


def _destination(url: str, *, allow_private: bool) -> Destination:
    try:
        parts = parse_url(url.strip())
    except urllib3.exceptions.LocationParseError:  # its text has the whole address: not passed on
        raise SourceImageError("The picture's address is not a valid web address.") from None
    if parts.scheme not in ("https", "http") or not parts.host:
        raise SourceImageError("The picture's address is not a web address; it has to begin with https://.")
    host = _host(parts.host)
    if parts.scheme == "http" and not allow_private:
        raise SourceImageError(f"The picture's address at {host} begins with http://; only https:// is fetched.")
    if parts.auth is not None:
        raise SourceImageError(f"The picture's address at {host} carries a user name or password; leave it out.")
    port = _usual_port(parts.scheme) if parts.port is None else parts.port
    if not allow_private and port not in (443, 80):
        raise SourceImageError(f"The picture's address at {host} names port {port}; only the usual ports are fetched.")
    return Destination(parts.scheme, host, port, parts.request_uri)


def _host(host: str) -> str:
    """Put a host name in lower case, an IP address in its one proper spelling."""
    host = host.lower()
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError as error:
            raise SourceImageError("The picture's address has no valid host.") from error
    # Whatever ends in a number is read as IPv4 by resolvers, in octal, hex or with parts left out (127.1, 0x7f000001).
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise SourceImageError("The picture's address has no valid host.") from error
    if _STRANGE_HOST.search(host):
        raise SourceImageError("The picture's address has no valid host.")
    return host


def _usual_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _addresses(destination: Destination, resolve: Resolve, seconds: float) -> list[str]:
    """Look up every IP address of the host, beside us: a look-up takes no time-out, so a slow one is left behind."""
    host = destination.host
    answer: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            found = resolve(host, destination.port)
            answer.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            answer.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        found = answer.get(timeout=max(seconds, 0))
    except Empty:
        raise SourceUnavailableError(f"Looking up {host} took too long.") from None
    if isinstance(found, UnicodeError) or getattr(found, "errno", None) in _NO_SUCH_HOST or not found:
        raise SourceImageError(f"There is no host {host}.")  # UnicodeError: a label that no host can have
    if isinstance(found, OSError):
        raise SourceUnavailableError(f"Looking up {host} failed.") from found
    if isinstance(found, Exception):
        raise found
    return found


def _connect(
    destination: Destination,
    addresses: list[str],
    open_connection: OpenConnection,
    left: Callable[[], float],
) -> HTTPConnection:
    """Connect to the first address that takes a connection."""
    *others, last = addresses
    for address in others:
        with suppress(urllib3.exceptions.HTTPError):
            return open_connection(destination, address, _connect_seconds(left()))
    return open_connection(destination, last, _connect_seconds(left()))


def _connect_seconds(left: float) -> float:
    if left <= 0:
        raise TimeoutError
    return min(CONNECT_SECONDS, left)


@contextmanager
def _cut_off(connection: HTTPConnection, seconds: float) -> Iterator[None]:
    """Cut the connection when time is up: a socket's own time-out counts anew with every byte that trickles in."""
    if seconds <= 0:
        raise TimeoutError
    connection.timeout = seconds
    # A little late, so that whoever sees the connection end finds the deadline passed.
    timer = threading.Timer(seconds + 0.05, _cut, (connection.sock,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        # The plain socket's method: that of ssl would drop its TLS state, while the other thread is reading.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _request(connection: HTTPConnection, destination: Destination, left: Callable[[], float]) -> bytes | str:
    """Ask once: the picture's bytes, or the address where it is said to be instead."""
    host = destination.host
    connection.request(
        "GET", destination.target, headers={"Host": destination.host_header, **_HEADERS}, preload_content=False
    )
    with closing(connection.getresponse()) as response:
        status = response.status
        location = response.headers.get("Location")
        if status in _REDIRECTS and location:
            return location
        if status in _TEMPORARY or status >= 500:  # noqa: PLR2004 - as HTTP numbers them
            raise SourceUnavailableError(f"{host} cannot give the picture just now (HTTP {status}).")
        if status in (404, 410):
            raise SourceImageError(f"{host} has no picture at this address (HTTP {status}).")
        if status != 200:  # noqa: PLR2004 - as HTTP numbers them
            raise SourceImageError(f"{host} does not give out the picture (HTTP {status}).")
        return _body(response, host, left)


def _body(response: urllib3.response.HTTPResponse, host: str, left: Callable[[], float]) -> bytes:
    """Read the body, decoded if it came compressed in spite of us, and counted as it comes."""
    too_large = SourceImageError(f"The picture at {host} is larger than {MAX_BYTES // 1024**2} MB; use a smaller one.")
    if (response.length_remaining or 0) > MAX_BYTES:
        raise too_large
    data = bytearray()
    ended = False
    while not ended:
        chunk = response.read1(_CHUNK)  # what is there, not a full chunk: the clock is looked at in between
        if left() <= 0:
            raise TimeoutError
        ended = not chunk
        data += chunk
        if len(data) > MAX_BYTES:
            raise too_large
        start = bytes(data[:_SNIFF])
        if (ended or len(start) == _SNIFF) and picture_type(start) is None:
            raise SourceImageError(
                f"{host} sent {content_name(start)}, not a picture. It has to be a JPEG, PNG, WebP or GIF file."
            )
    return bytes(data)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
