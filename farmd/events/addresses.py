"""Where webhooks may go. A receiver's URL is written by a person with a key; farmd must not become their hand inside the network.

Every address a name resolves to is judged, at subscription and again at each delivery, and the connection is made to a judged
address and nothing else; a name that changes its mind in between gains nothing. Private addresses pass only when the owner's
settings name them; link-local, metadata, multicast and unspecified ones, and farmd itself, never.
"""

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import httpx

from farmd.config import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]

LONGEST_URL = 2048
LOOKUP_SECONDS = 10.0
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA = tuple(
    ipaddress.ip_network(text) for text in ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/32")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_OTHER_TRADES = frozenset({0, 19, 21, 22, 23, 25, 53, 110, 111, 135, 139, 143, 389, 445, 465, 587, 636, 993, 995}) | frozenset(
    {1433, 2049, 3306, 5432, 6379, 6667, 8883, 1883, 9200, 11211, 27017}
)
"""Ports where something other than HTTP listens and might take a request's body for commands."""


class Refused(ValueError):
    """This URL may not receive events; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """A judged URL: `urls` hold the addresses to connect to, in the resolver's order; `host` is the Host header and `server_name`
    what TLS must prove."""

    urls: tuple[str, ...]
    host: str
    server_name: str


async def lookup(host: str, port: int) -> list[str]:
    """The system resolver. Each question has a thread of its own: a name server that hangs holds up nobody else, nor the exit."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str] | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        found: list[str] | OSError
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError as error:
            found = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=ask, name=f"lookup-{host[:40]}", daemon=True).start()
    return await answer


class Policy:
    """The owner's rules. `allow` holds host names, addresses and CIDRs; `own` is where farmd itself listens."""

    def __init__(self, allow: Iterable[str], own: tuple[str, int], resolve: Resolve = lookup) -> None:
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in allow:
            self._permit(entry.strip().lower())
        self._own_host, self._own_port = own
        self._resolve = resolve

    @classmethod
    def of(cls, settings: Settings) -> "Policy":
        """The rules of these settings."""
        return cls(settings.webhook_allow, (settings.host, settings.port))

    def _permit(self, entry: str) -> None:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            if "/" in entry:
                raise ValueError(f"webhooks.allow: {entry!r} is neither a host nor a network such as 192.168.1.0/24") from None
            self._hosts.add(entry)
            return
        self._networks.append(network)
        if ipaddress.ip_address("127.0.0.1") in network:
            self._networks.append(ipaddress.ip_network("::1"))  # `localhost` is both

    async def target(self, url: str) -> Target:
        """The addresses this URL may be delivered to. Raises `Refused`."""
        parsed, host, port = _parse(url)
        addresses = await self._addresses(host, port)
        for address in addresses:
            self._judge(host, address, port)
        urls = tuple(str(parsed.copy_with(host=str(address))) for address in addresses)
        return Target(urls, parsed.netloc.decode("ascii"), host)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        literal = _literal(host)
        if literal is not None:
            return [literal]
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await self._resolve(host, port)
        except (OSError, TimeoutError) as error:
            raise Refused(f"the host name {host!r} does not resolve; check its spelling and this machine's DNS") from error
        addresses = [ipaddress.ip_address(text) for text in dict.fromkeys(found)]
        if not addresses:
            raise Refused(f"the host name {host!r} has no address")
        return addresses

    def _judge(self, host: str, address: Address, port: int) -> None:
        inner = _unwrapped(address)
        shown = str(address) if inner == address else f"{address} (that is {inner})"
        if inner.is_unspecified or inner.is_multicast or inner.is_link_local or any(_in(inner, net) for net in _METADATA):
            raise Refused(f"{host} is {shown}: link-local, metadata, multicast and unspecified addresses never receive events")
        if port == self._own_port and self._is_own(inner):
            raise Refused(f"{host}:{port} is farmd itself; give the receiver's own address and port")
        if inner.is_global and not inner.is_reserved and not (inner.version == 6 and inner.is_site_local):
            return
        if host in self._hosts or any(_in(inner, net) for net in self._networks):
            return
        raise Refused(f"{host} is {shown}, a private address; if it is meant, add it to `allow` under [webhooks] in farmd.toml")

    def _is_own(self, address: Address) -> bool:
        if address.is_loopback:
            return True
        if self._own_host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
            return _belongs_here(address)
        return str(address) == self._own_host


def _parse(url: str) -> tuple[httpx.URL, str, int]:
    if len(url) > LONGEST_URL:
        raise Refused(f"the URL is longer than {LONGEST_URL} characters")
    if re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise Refused("the URL holds a space, a backslash or a control character; write them percent-encoded")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Refused(f"this is not a URL: {error}") from error
    if not url.lower().startswith(("http://", "https://")):
        raise Refused("the URL must begin with http:// or https://")
    if parsed.userinfo or "@" in url.split("/", 3)[2]:
        raise Refused("a URL must not carry a user name or password; send them in a header of the webhook instead")
    host = parsed.raw_host.decode("ascii").lower().rstrip(".")
    if not host:
        raise Refused("the URL names no host")
    port = parsed.port if parsed.port is not None else 443 if parsed.scheme == "https" else 80
    if not 0 < port < 65536 or port in _OTHER_TRADES:
        raise Refused(f"port {port} is not a port where a webhook is received")
    if host in _METADATA_HOSTS:
        raise Refused(f"{host} is a cloud's metadata service; it never receives events")
    return parsed.copy_with(fragment=None), host, port


def _literal(host: str) -> Address | None:
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as error:
            raise Refused(f"[{host}] is not an IPv6 address") from error
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        pass
    if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", host.rpartition(".")[2]):
        raise Refused(f"{host} is a disguised address; write it as four decimal numbers, such as 192.0.2.10")
    if not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", host):
        raise Refused(f"{host} is not a host name")
    return None


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def _in(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _belongs_here(address: Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
