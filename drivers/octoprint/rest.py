"""OctoPrint's REST side: one HTTP client per printer, every call with a deadline, every failure a `DriverError`.

A shared client would cost each request a walk over the whole farm's connections. The API key goes out in one header and
nowhere else: it is cut from whatever the server says before those words reach an error or a log.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from drivers.contract import Unreachable
from drivers.octoprint.protocol import refusal

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
CALL_SECONDS = CONNECT_SECONDS + READ_SECONDS
ANSWER_LIMIT = 4 * 1024 * 1024


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Certificates are checked against the host's own store, where a shop adds its own authority. Shared: loading is slow."""
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose status the caller said it can handle. `body` is the decoded JSON, None where there was none."""

    status: int
    body: Any


class Rest:
    """Calls to one OctoPrint. `url` may carry a path prefix, as behind a reverse proxy."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._closed = False
        self._client = httpx.AsyncClient(
            verify=tls() if self.url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=False,  # a proxy meant for the internet must not sit between a farm and its printers
            headers={"X-Api-Key": api_key, "User-Agent": "farmd"},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=1),
        )
        # A login leaves a session cookie behind, which would keep answering after the key was withdrawn.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def __repr__(self) -> str:
        return f"Rest({self.url!r})"

    async def ask(self, path: str, action: str, *, accept: frozenset[int] = frozenset({200})) -> Answer:
        """GET; tried a second time when a kept connection turns out dead, since reading twice is harmless."""
        for last in (False, True):
            try:
                return await self._call("GET", path, action, accept=accept)
            except _StaleConnection as error:
                if last:
                    raise Unreachable(str(error)) from error
        raise AssertionError("unreachable")

    async def tell(
        self, path: str, command: Mapping[str, Any], action: str, *, accept: frozenset[int] = frozenset({200, 204})
    ) -> Answer:
        """POST a command, once. `Unreachable` leaves open whether it arrived."""
        return await self._call("POST", path, action, accept=accept, content=json.dumps(command).encode())

    async def delete(self, path: str, action: str, *, accept: frozenset[int]) -> Answer:
        """DELETE, once."""
        return await self._call("DELETE", path, action, accept=accept)

    async def send(self, path: str, body: AsyncIterable[bytes], headers: Mapping[str, str], action: str, seconds: float) -> Answer:
        """POST a streamed body within `seconds` in all."""
        return await self._call("POST", path, action, accept=frozenset({201}), content=body, headers=headers, seconds=seconds)

    async def close(self) -> None:
        """Drop the connections; every later call is `Unreachable`."""
        self._closed = True
        await self._client.aclose()

    async def _call(
        self,
        method: str,
        path: str,
        action: str,
        *,
        accept: frozenset[int],
        content: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> Answer:
        if self._closed:
            raise Unreachable(f"cannot {action}: this driver was closed")
        if headers is None and content is not None:
            headers = {"Content-Type": "application/json"}
        # After a whole upload OctoPrint still copies the file before it answers.
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, read=max(READ_SECONDS, seconds / 2))
        try:
            async with asyncio.timeout(seconds):
                request = self._client.build_request(
                    method, self.url + quote(path), content=content, headers=headers, timeout=timeout
                )
                response = await self._client.send(request, stream=True)
                try:
                    body = await _read(response, action)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise Unreachable(f"cannot {action}: {self.url} did not answer within {seconds:.0f} s") from error
        except httpx.RemoteProtocolError as error:
            raise _StaleConnection(f"cannot {action}: {self.url} hung up: {self._safe(str(error))}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"cannot {action}: {self.url}: {self._safe(_reason(error))}") from error
        return self._answer(response.status_code, body, action, accept)

    def _answer(self, status: int, body: bytes, action: str, accept: frozenset[int]) -> Answer:
        if status not in accept:
            if 200 <= status < 300:
                raise Unreachable(f"cannot {action}: {self.url} answered {status}, which OctoPrint never does here")
            raise refusal(status, self._safe(body.decode("utf-8", "replace")).encode(), action)
        try:
            return Answer(status, json.loads(body) if body.strip() else None)
        except ValueError:
            if 200 <= status < 300:
                raise Unreachable(f"cannot {action}: what answers at {self.url} is not OctoPrint (no JSON)") from None
            return Answer(status, None)

    def _safe(self, words: str) -> str:
        return words.replace(self._api_key, "***")


class _StaleConnection(Unreachable):
    """The server hung up instead of answering, as it does on a connection it had already given up."""


def check_url(url: object) -> str:
    """The address as it is used. Raises `ValueError` naming what is wrong with it."""
    if not isinstance(url, str) or not url:
        raise ValueError("url is missing: give OctoPrint's address, such as http://octopi.local")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"url {url!r} is not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url {url!r} must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("url must be scheme, host, port and path only: no user, password, ? or #")
    return url.rstrip("/")


def check_key(api_key: object) -> str:
    """The key as it is used. Raises `ValueError`, which does not repeat it."""
    if not isinstance(api_key, str) or not api_key:
        raise ValueError("api_key is missing: make one in OctoPrint under Settings > Application Keys")
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("api_key holds blanks or characters no key has; copy it again")
    return api_key


async def _read(response: httpx.Response, action: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise Unreachable(f"cannot {action}: the answer is larger than any OctoPrint gives")
    return bytes(body)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, httpx.ReadTimeout):
        return "connected, but no answer came in time"
    return str(error) or type(error).__name__
