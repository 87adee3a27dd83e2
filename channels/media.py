"""Fetching what people sent: from the provider's own hosts only, up to a size, credentials only where they belong.

A reference comes with a webhook and a redirect with an answer: neither may lead our requests anywhere else, least of
all into our own network, nor our credentials to anybody but the provider.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx

from channels.channel import MediaError

TIMEOUT = httpx.Timeout(15.0, connect=5.0)
LONGEST = 60.0  # seconds for one file, whatever the pace
_HOPS = 4
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
Resolve = Callable[[str], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a provider keeps files. A stand-in on loopback replaces all of it."""

    api_url: str  # gets our credentials
    own: tuple[str, ...] = ()  # hosts that get our credentials as well
    others: tuple[str, ...] = ()  # hosts that get none; those below them count too

    @property
    def standin(self) -> bool:
        return httpx.URL(self.api_url).host in _LOOPBACK

    def check(self, url: str) -> tuple[httpx.URL, bool]:
        """The address, and whether our credentials may go there. Raises MediaError("foreign")."""
        try:
            found = httpx.URL(url)  # read by what will call it: two readers may disagree on the host
        except (httpx.InvalidURL, TypeError, ValueError):
            raise MediaError("foreign") from None
        if found.userinfo:
            raise MediaError("foreign")
        if same_place(found, httpx.URL(self.api_url)) and (found.scheme == "https" or self.standin):
            return found, True
        if self.standin or found.scheme != "https" or found.port not in (None, 443):
            raise MediaError("foreign")
        if found.host in self.own:
            return found, True
        if any(found.host == host or found.host.endswith(f".{host}") for host in self.others):
            return found, False
        raise MediaError("foreign")


def same_place(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether both are at the same scheme, host and port."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


async def addresses(host: str) -> list[str]:
    """What the name stands for now. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


async def download(
    client: httpx.AsyncClient,
    url: str,
    origin: Origin,
    *,
    most: int,
    credentials: Mapping[str, str],
    resolve: Resolve = addresses,
) -> bytes:
    """The file at an address of the provider's, at most ``most`` bytes. Raises MediaError."""
    try:
        async with asyncio.timeout(LONGEST):
            for hop in range(_HOPS):
                target, trusted = origin.check(url)
                trusted = trusted and (hop == 0 or target.host in origin.own)  # a redirect leads to a signed address
                if not origin.standin:
                    await _check_public(target.host, resolve)
                headers = {"accept-encoding": "identity", **(credentials if trusted else {})}
                async with client.stream(
                    "GET", target, headers=headers, timeout=TIMEOUT, follow_redirects=False
                ) as response:
                    if not response.has_redirect_location:
                        check_status(response, trusted=trusted)
                        return await _body(response, most)
                    url = str(target.join(response.headers["location"]))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError):
        raise MediaError("unreachable") from None  # the cause may name an address with a token in it
    raise MediaError("foreign")


async def _check_public(host: str, resolve: Resolve) -> None:
    """A provider's name that leads into a private network is a lie."""
    if not all(ipaddress.ip_address(address.partition("%")[0]).is_global for address in await resolve(host)):
        raise MediaError("foreign")


async def _body(response: httpx.Response, most: int) -> bytes:
    """As sent: what is packed is refused, for nobody knows how large it becomes."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise MediaError("unreachable")
    told = response.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise MediaError("too_large")
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            raise MediaError("too_large")
    if not body:
        raise MediaError("gone")
    return bytes(body)


async def asked(call: Awaitable[httpx.Response]) -> httpx.Response:
    """The provider's answer about a file. Raises MediaError."""
    try:
        response = await call
    except httpx.HTTPError:
        raise MediaError("unreachable") from None
    check_status(response, trusted=True)
    return response


def check_status(response: httpx.Response, *, trusted: bool) -> None:
    """Raises MediaError for what is no success. A signed address that has run out answers 403, too."""
    if response.is_success:
        return
    if response.status_code in (404, 410) or (response.status_code == 403 and not trusted):
        raise MediaError("gone")
    raise MediaError("settings" if response.status_code in (401, 403) else "unreachable")
