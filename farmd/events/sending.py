"""One try: the message goes to a judged address over a client of its own, and whatever happens becomes an `Answer`.

Never follows a redirect, never reads more than a kilobyte of what comes back, never sends a cookie, never lets a receiver's
failure out as an exception.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import cast

import httpx

from farmd.domain.ports import World
from farmd.events.addresses import Policy, Refused, Target
from farmd.events.retries import Answer

EXCERPT = 1024
_REST_SECONDS = 2.0  # for the rest of an answer whose status is known


class Sender:
    """The way to one receiver. `close` it when the receiver's URL changes."""

    def __init__(self, world: World, policy: Policy, tls: ssl.SSLContext, *, timeout: float) -> None:
        self._world, self._policy, self._timeout = world, policy, timeout
        self._resolving = asyncio.Lock()  # one question at a time, however slow the name server is
        self._client = httpx.AsyncClient(
            verify=tls,
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    async def close(self) -> None:
        """Close every connection, to the end even when it is cancelled half-way."""
        closing = asyncio.create_task(self._client.aclose())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send once, within the timeout."""
        began = self._world.monotonic()
        status, detail, retry_after = None, None, None
        try:
            async with asyncio.timeout(self._timeout):
                async with self._resolving:
                    target = await self._policy.target(url)
                status, detail, retry_after = await self._first_that_connects(target, headers, body)
        except Refused as refused:
            detail = f"not sent: {refused}"
        except (TimeoutError, httpx.TimeoutException):
            detail = f"no answer within {self._timeout:g} s"
        except httpx.HTTPError as error:
            detail = f"{type(error).__name__}: {error}".rstrip(": ")[:EXCERPT]
        return Answer(status, detail, round((self._world.monotonic() - began) * 1000), retry_after)

    async def _first_that_connects(
        self, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str | None, str | None]:
        for url in target.urls[:-1]:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._once(url, target, headers, body)
        return await self._once(target.urls[-1], target, headers, body)

    async def _once(self, url: str, target: Target, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None, str | None]:
        extensions = {"sni_hostname": target.server_name}
        given = dict(headers) | {"Host": target.host}
        async with self._client.stream("POST", url, headers=given, content=body, extensions=extensions) as response:
            excerpt = await _excerpt(response)
            told = None if response.is_success else excerpt or response.reason_phrase or None
            return response.status_code, told, response.headers.get("retry-after")


async def _excerpt(response: httpx.Response) -> str:
    taken = bytearray()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_REST_SECONDS), aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as chunks:
            async for chunk in chunks:
                taken += chunk[: EXCERPT - len(taken)]
                if len(taken) >= EXCERPT:
                    break
    return taken.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
