"""Why a farm cannot reach an OctoPrint, found out step by step for `farmd doctor`.

Each step names the cure for its own failure, and the first failed step is the last one told. Nothing is changed on the way.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from drivers.contract import Check, DriverError, Phase, Unauthorized
from drivers.octoprint.protocol import read_job, read_rights
from drivers.octoprint.push import NoSocket, PushSocket, log_in
from drivers.octoprint.rest import CONNECT_SECONDS, Rest, check_key, check_url

NEEDED_RIGHTS = frozenset({"status", "files_list", "files_upload", "files_select", "files_delete", "print"})


async def examine(options: Mapping[str, Any]) -> AsyncIterator[Check]:
    """The checks of one printer's options, in order, up to the first failure."""
    try:
        url, api_key = check_url(options.get("url")), check_key(options.get("api_key"))
    except ValueError as error:
        yield Check("options", False, str(error))
        return
    rest = Rest(url, api_key)
    try:
        for step in (_resolve, _reach, _is_octoprint, _key, _printer, _socket):
            check = await step(rest)
            yield check
            if not check.ok:
                return
    finally:
        await rest.close()


async def _resolve(rest: Rest) -> Check:
    host, port = _host_and_port(rest)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        cure = "check the spelling in url, or use the address in numbers"
        return Check("name", False, f"{host} has no address ({_words(error)}); {cure}")
    return Check("name", True, f"{host} is {found[0][4][0]}")


async def _reach(rest: Rest) -> Check:
    host, port = _host_and_port(rest)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        cure = "is the machine on, is the port in url right, does a firewall stand between?"
        return Check("connection", False, f"no connection to {host}:{port} ({_words(error)}); {cure}")
    writer.close()
    return Check("connection", True, f"{host}:{port} accepts connections")


async def _is_octoprint(rest: Rest) -> Check:
    try:
        body = (await rest.ask("/api/version", "read the version")).body
    except Unauthorized:
        return Check("octoprint", True, "something answers that wants a key, as OctoPrint does")
    except DriverError as error:
        return Check("octoprint", False, f"{error}; url must be the address at which OctoPrint's own page opens")
    if not isinstance(body, dict) or not isinstance(body.get("server"), str):
        return Check("octoprint", False, f"what answers at {rest.url} is not OctoPrint; correct url")
    return Check("octoprint", True, f"OctoPrint {body['server']}")


async def _key(rest: Rest) -> Check:
    try:
        login = await log_in(rest)
    except DriverError as error:
        return Check("key", False, f"{error}; make a key in OctoPrint under Settings > Application Keys")
    rights = read_rights(login)
    missing = sorted(NEEDED_RIGHTS - rights) if rights is not None and not login.get("admin") else []
    if missing:
        cure = "give this user the group Operators in Settings > Access Control"
        return Check("key", False, f"the key's user {login.get('name')} lacks {', '.join(missing)}; {cure}")
    return Check("key", True, f"accepted, as user {login.get('name')}, with the right to print")


async def _printer(rest: Rest) -> Check:
    try:
        report = read_job((await rest.ask("/api/job", "read the job")).body)
    except DriverError as error:
        return Check("printer", False, str(error))
    if report.phase in (None, Phase.OFFLINE, Phase.ERROR):
        cure = "switch the printer on and press Connect in OctoPrint"
        return Check("printer", False, f"{report.message}; {cure}")
    return Check("printer", True, report.state)


async def _socket(rest: Rest) -> Check:
    """Polling does instead of the socket, so its absence is told but is no failure."""
    try:
        push = await PushSocket.open(rest, throttle=1)
    except (NoSocket, DriverError) as error:
        cure = "let the proxy pass web sockets at /sockjs to learn of changes at once"
        return Check("push socket", True, f"none ({error}): polling every 2 s instead; {cure}")
    await push.close()
    return Check("push socket", True, "open")


def _host_and_port(rest: Rest) -> tuple[str, int]:
    parts = urlsplit(rest.url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"nothing within {CONNECT_SECONDS:.0f} s"
    return str(error) or type(error).__name__
