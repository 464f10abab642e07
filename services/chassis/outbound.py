"""The one HTTP client for addresses that a stranger named: webhooks, Open311 endpoints, seals, evidence links.

Every attempt stands alone: the URL is judged, its name is resolved once, every address of the answer is checked against
explicit networks, and the connection goes to an address just checked, with SNI, certificate check and `Host` still by
name. No verdict, connection or cookie outlives the attempt, so a DNS answer that changes later changes nothing. One
deadline covers lookup, handshake, request and answer; the body is capped and never decompressed; proxies and trust
settings of the environment are ignored; redirects are followed only where asked, each hop judged anew.
`OutboundRefused` is policy (trying again is useless), `OutboundFailed` the network (trying again may help). Their
reasons can be shown to the stranger: they never hold an address that a name resolved to, nor what was answered.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

IPAddress = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[IPAddress]]]

USER_AGENT = "citizen-engaged"
PORTS = frozenset({443, 8443})
URL_LIMIT = 2_048
"""Characters."""
CONNECT_SECONDS = 5.0
"""For one address, so that a dead first address leaves time for the next."""
ADDRESSES_TRIED = 4
KEPT_HEADERS = ("content-type", "etag", "last-modified", "location", "retry-after")

LOOPBACK = "loopback"
# After IANA's special-purpose address registries, whole blocks even where single addresses in them are reachable.
# `ipaddress.is_global` is no substitute: Python 3.11 lets multicast, 6to4, NAT64 and more through.
FORBIDDEN = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", LOOPBACK),
        ("168.63.129.16/32", "cloud platform"),  # Azure's host agent, on a public address
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "multicast relay"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", LOOPBACK),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard"),
        ("2001::/23", "protocol assignments"),  # Teredo, ORCHID, benchmarking, anycast services
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that IANA has given out (RFC 4291); the rest of IPv6 is refused without being listed."""

HOST_LIMIT = 253
"""Characters, RFC 1035."""
HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
REDIRECTS = frozenset({301, 302, 303, 307, 308})

# A lookup cannot be cancelled and a stranger's name server can stall it: threads of their own, so that only other
# lookups wait and never the rest of the process.
_LOOKUPS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="lookup")


class OutboundRefused(Exception):  # noqa: N818  (named for the outcome, which a caller tells apart from `OutboundFailed`)
    """Policy forbids the call or its answer; permanent until the address or the answer changes."""


class OutboundFailed(Exception):  # noqa: N818  (likewise)
    """The network did not deliver: no name, no connection, no complete answer in time. May be retried."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take. `deadline` is in seconds for all of it; `max_body` in bytes, 0 leaves the body unread.

    A longer body is refused, or with `cut` read no further; one that is compressed is refused, or with `cut` not read.
    """

    deadline: float = 15.0
    max_body: int = 65_536
    redirects: int = 0
    cut: bool = False


DEFAULTS = Limits()


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """The answer of a stranger: `headers` (lower case) are those of `KEPT_HEADERS`. Not to be shown to another."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def forbidden(address: IPAddress) -> str | None:
    """Why no call may go to this address, or None. IPv4-mapped IPv6 is judged as the IPv4 that it reaches."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return forbidden(address.ipv4_mapped)
    for network, reason in FORBIDDEN:
        if address in network:
            return reason
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return "not global unicast"
    return None


async def resolve(host: str, port: int) -> Sequence[IPAddress]:
    """Ask the system's resolver once. Raises OSError when it has no answer."""
    lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, lookup)
    return tuple(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))


class Outbound:
    """The guarded client: holds settings only, no connection.

    `allow_loopback` is the embedded mode: loopback on any port, over http or https, besides the public network. `tls`
    replaces the context that trusts certifi's roots, `resolver` the system's lookup.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        ports: frozenset[int] = PORTS,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._allow_loopback = allow_loopback
        self._ports = ports
        self._resolver = resolver
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._user_agent = user_agent

    def admit(self, url: str | httpx.URL) -> httpx.URL:
        """Judge a URL by its text alone, to tell a person at once; `request` does it again. Raises OutboundRefused."""
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise OutboundRefused(f"not a URL: {error}") from None
        if len(str(parsed)) > URL_LIMIT:
            raise OutboundRefused(f"the URL is longer than {URL_LIMIT} characters")
        if parsed.scheme != "https" and not (self._allow_loopback and parsed.scheme == "http"):
            raise OutboundRefused("the URL must begin with https://")
        if parsed.userinfo:
            raise OutboundRefused("the URL must not hold a user name or password")
        host = _host(parsed)
        literal = _literal(host)
        if literal is None and (len(host) > HOST_LIMIT or HOST_NAME.fullmatch(host) is None):
            raise OutboundRefused("the URL has no valid host name")
        if literal is not None:
            self._check_address(literal)
        if not self._allow_loopback or _port(parsed) not in range(1, 65_536):
            self._check_port(parsed)
        return parsed

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        limits: Limits = DEFAULTS,
    ) -> OutboundResponse:
        """Make one attempt. Any status is an answer, a 3xx too unless `limits.redirects` (GET, HEAD only) follows it.

        Raises OutboundRefused or OutboundFailed, after `limits.deadline` seconds at the latest.
        """
        if limits.redirects and method not in {"GET", "HEAD"}:
            raise ValueError(f"redirects are followed for GET and HEAD only, not for {method}")
        request = httpx.Request(method, self.admit(url), headers=headers, content=content)
        try:
            async with asyncio.timeout(limits.deadline):
                return await self._follow(request, limits)
        except TimeoutError:
            raise OutboundFailed(f"no complete answer within {limits.deadline:g} s") from None

    async def _follow(self, request: httpx.Request, limits: Limits) -> OutboundResponse:
        origin = _origin(request.url)
        for _ in range(limits.redirects + 1):
            response = await self._attempt(request, limits)
            location = response.headers.get("location")
            if not limits.redirects or response.status not in REDIRECTS or location is None:
                return response
            try:
                url = self.admit(request.url.join(location))
            except httpx.InvalidURL:
                raise OutboundRefused("redirected to what is no URL") from None
            # Credentials and the like were meant for the first origin only.
            request = httpx.Request(request.method, url, headers=request.headers if _origin(url) == origin else None)
        raise OutboundRefused(f"more than {limits.redirects} redirects")

    async def _attempt(self, request: httpx.Request, limits: Limits) -> OutboundResponse:
        failure: Exception | None = None
        for address in (await self._checked(request.url))[:ADDRESSES_TRIED]:
            try:
                return await self._exchange(request, address, limits)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error  # nothing was sent yet: the next address may be tried
            except (httpx.TransportError, OSError) as error:
                # Its text may quote what was answered, which would let a stranger read banners of other services.
                raise OutboundFailed(f"the exchange broke off ({type(error).__name__})") from error
        raise OutboundFailed(f"cannot connect: {str(failure) or type(failure).__name__}") from failure

    async def _checked(self, url: httpx.URL) -> Sequence[IPAddress]:
        """Every address of the host; all must be allowed, one that is not refuses the call."""
        literal = _literal(_host(url))
        try:
            addresses = [literal] if literal else await self._resolver(_host(url), _port(url))
        except (OSError, UnicodeError):
            raise OutboundFailed("the host name cannot be resolved") from None
        if not addresses:
            raise OutboundFailed("the host name has no address")
        for address in addresses:
            if self._check_address(address) == LOOPBACK:
                continue
            if url.scheme != "https":
                raise OutboundRefused("http is for this machine only: the URL must begin with https://")
            self._check_port(url)
        return addresses

    def _check_address(self, address: IPAddress) -> str | None:
        """Refuse an address that is forbidden; LOOPBACK where that is allowed, else None."""
        reason = forbidden(address)
        if reason and not (self._allow_loopback and reason == LOOPBACK):
            raise OutboundRefused("the host is not on the public network")
        return reason

    async def _exchange(self, request: httpx.Request, address: IPAddress, limits: Limits) -> OutboundResponse:
        headers = httpx.Headers(request.headers)
        headers.setdefault("user-agent", self._user_agent)
        headers["host"] = request.url.netloc.decode("ascii")
        headers["accept-encoding"] = "identity"
        headers["connection"] = "close"
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=headers,
            content=request.content,
            extensions={"sni_hostname": _host(request.url).rstrip("."), "timeout": {"connect": CONNECT_SECONDS}},
        )
        # A transport of its own, not a client: no pool that could hand this connection to another name at the same
        # address, and none of the client's cookies, redirects, decompression or environment proxies.
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
            response = await transport.handle_async_request(pinned)
            try:
                body = b"" if request.method == "HEAD" else await _body(response, limits)
            finally:
                await response.aclose()
        kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        return OutboundResponse(response.status_code, kept, body)

    def _check_port(self, url: httpx.URL) -> None:
        if _port(url) not in self._ports:
            raise OutboundRefused(f"the port must be one of {', '.join(map(str, sorted(self._ports)))}")


@cache
def outbound(user_agent: str = USER_AGENT, *, allow_loopback: bool) -> Outbound:
    """The client of these settings, one a process: making its TLS context takes a while."""
    return Outbound(user_agent=user_agent, allow_loopback=allow_loopback)


async def _body(response: httpx.Response, limits: Limits) -> bytes:
    if limits.max_body == 0:
        return b""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        if limits.cut:
            return b""
        # None was asked for, so this is a mistake or a bomb; neither is unpacked.
        raise OutboundRefused("the answer is compressed: it must come without Content-Encoding")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limits.max_body:
            if limits.cut:
                break
            raise OutboundRefused(f"the answer is longer than {limits.max_body} bytes")
    return bytes(body[: limits.max_body])


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")  # `url.host` would give an internationalised name back in Unicode


def _port(url: httpx.URL) -> int:
    return {"https": 443, "http": 80}[url.scheme] if url.port is None else url.port


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, _host(url), _port(url)


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
