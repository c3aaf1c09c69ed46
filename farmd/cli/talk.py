"""The daemon as the command line sees it: HTTP under FARMD_URL with FARMD_API_KEY, and every refusal in one sentence.

httpx is loaded by the first call: most of the commands that are listed here never make one.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farmd.cli.complaint import Complaint

if TYPE_CHECKING:
    import ssl

    import httpx

DEFAULT_URL = "http://127.0.0.1:8787"
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon said: its exact text, and the same parsed with numbers kept as they were written (12.50 stays 12.50)."""

    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text, parse_float=str) if self.text else {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The `data` of a list."""
        rows: list[dict[str, Any]] = self.data["data"]
        return rows


def ask(method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any) -> Answer:
    """One call. Query values that are None are left out. Raises `Complaint`."""
    import httpx

    url = os.environ.get("FARMD_URL", DEFAULT_URL).rstrip("/")
    asked = {key: value for key, value in query.items() if value is not None}
    try:
        with httpx.Client(timeout=httpx.Timeout(30, connect=5), trust_env=False, verify=_trust(url)) as client:
            response = client.request(method, url + path, params=asked, headers=_headers() | (headers or {}), json=body)
    except httpx.InvalidURL as error:
        raise Complaint(f"FARMD_URL is not an address: {error}") from None
    except httpx.HTTPError as error:
        raise _unreachable(url, error) from None
    return _judge(url, response)


def send_file(path: str, file: Path, progress: Callable[[int], None]) -> Answer:
    """PUT a file as the raw body; `progress` hears how many bytes went with each piece. Raises `Complaint`."""
    import httpx

    url = os.environ.get("FARMD_URL", DEFAULT_URL).rstrip("/")

    def pieces() -> Iterator[bytes]:
        with file.open("rb") as stream:
            while piece := stream.read(CHUNK):
                yield piece
                progress(len(piece))

    try:
        size = file.stat().st_size
        # a model is validated before the answer comes, which may take minutes
        with httpx.Client(timeout=httpx.Timeout(300, connect=5), trust_env=False, verify=_trust(url)) as client:
            headers = _headers() | {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            response = client.put(url + path, content=pieces(), headers=headers)
    except OSError as error:
        raise Complaint(f"cannot read {file}: {error.strerror}") from None
    except httpx.HTTPError as error:
        raise _unreachable(url, error) from None
    return _judge(url, response)


def _trust(url: str) -> "ssl.SSLContext | bool":
    """Whom to believe that they are who they say. Where nobody does, no authorities are read: that takes longer than the call."""
    import ssl

    return True if url.lower().startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _headers() -> dict[str, str]:
    key = os.environ.get("FARMD_API_KEY", "").strip()
    if not key:
        raise Complaint("no key: export FARMD_API_KEY=$(farmd keys create NAME --role admin)")
    if not key.isascii() or not key.isprintable():
        raise Complaint("FARMD_API_KEY holds something that cannot be a key: copy it again")
    return {"X-API-Key": key, "User-Agent": "farmd-cli"}


def _unreachable(url: str, error: "httpx.HTTPError") -> Complaint:
    import httpx

    if isinstance(error, httpx.UnsupportedProtocol):
        return Complaint(f"FARMD_URL must begin with http:// or https://, not {url}")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Complaint(f"no farmd answers at {url}: start it with `farmd run`, or set FARMD_URL")
    if isinstance(error, httpx.TimeoutException):
        return Complaint(f"farmd at {url} did not answer in time: see its log; what was asked may still have been done")
    return Complaint(f"the connection to {url} broke: {error}; what was asked may still have been done")


def _judge(url: str, response: "httpx.Response") -> Answer:
    try:
        said = response.json() if response.content else {}
    except ValueError:
        said = None
    if response.is_success and isinstance(said, dict):
        return Answer(response.text)
    if not isinstance(said, dict) or not ({"detail", "title"} & said.keys()):
        raise Complaint(f"{url} answered {response.status_code} and not in farmd's words: is FARMD_URL right?")
    if response.status_code == 401:
        raise Complaint("the key was not accepted: set FARMD_API_KEY to one made by `farmd keys create`")
    words = str(said.get("detail") or said["title"])
    faults = [f"{fault.get('pointer', '')}: {fault.get('detail', '')}" for fault in said.get("errors") or []]
    raise Complaint("; ".join([words, *faults]))
