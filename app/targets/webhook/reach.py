"""Which addresses a webhook may be posted to: public ones, and those that the installation's settings allow.

Whoever may add a target must not be able to make this service talk to itself, to its neighbours or to a cloud's
metadata service (OWASP: server-side request forgery). A name is resolved once and the connection goes to an address
that was checked, so that a second answer of the name service cannot lead elsewhere.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from app.errors import AskAdmin, TryLater
from app.targets.webhook.texts import error

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, in the order the system prefers. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def reachable(host: str, port: int, allowed: Sequence[str], resolve: Resolve = resolve) -> Sequence[str]:
    """The addresses of a host, each of which may be connected to.

    `allowed` are host names, addresses and networks that need not be public. Raises AskAdmin
    (`webhook.address_forbidden`) when one of the addresses may not, TryLater when there is none.
    """
    try:
        addresses = await resolve(host.strip("[]"), port)
    except (OSError, UnicodeError):
        raise error(TryLater, "webhook.unknown_host") from None
    if not addresses:
        raise error(TryLater, "webhook.unknown_host")
    trusted = host.lower() in [entry.lower() for entry in allowed]
    if not trusted and not all(_may(ipaddress.ip_address(one.partition("%")[0]), allowed) for one in addresses):
        raise error(AskAdmin, "webhook.address_forbidden")
    return addresses


def _may(address: Address, allowed: Sequence[str]) -> bool:
    real = _embedded(address)
    if real.is_global and not real.is_multicast and not real.is_reserved:
        return True
    return any(real in network for network in map(_network, allowed) if network is not None)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if wrapped is None and address in NAT64:
        wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return wrapped or address


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None  # a host name
