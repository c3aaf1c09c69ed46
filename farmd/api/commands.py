"""One change, one transaction, one answer: how every command passes through the store.

A POST that carries an Idempotency-Key is answered once; its answer is a row beside its effect, so a repetition (also after a crash,
also at the same moment) is answered with the same bytes and changes nothing.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from farmd.api.answers import to_json
from farmd.api.auth import Caller
from farmd.api.problems import Problem
from farmd.store.engine import Store, StoreFailed, Tx
from farmd.store.replays import amend_replay, find_replay, keep_replay

MAX_KEY = 255
Effect = Callable[[Tx], tuple[int, dict[str, Any]]]
Afterwards = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]


async def command(request: Request, effect: Effect, afterwards: Afterwards | None = None) -> Response:
    """Run `effect` in one write transaction and answer with its status and payload. Raises `Problem` 422 when the Idempotency-Key
    was used for another request, and whatever `effect` raises, having changed nothing. What `afterwards` makes of the payload, once
    all of it is durable, is answered in its place; to a repetition too, unless that comes before or farmd died in between."""
    caller: Caller = request.state.caller
    key = _idempotency_key(request)
    sha = await _request_sha(request)

    def work(tx: Tx) -> tuple[int, bytes, bool]:
        if key is None:
            status, payload = effect(tx)
            return status, to_json(payload), False
        earlier = find_replay(tx.connection, caller.key_id, key)
        if earlier is not None:
            if earlier["request_sha"] != sha:
                raise _reused()
            return earlier["status"], earlier["body"].encode(), True
        status, payload = effect(tx)
        body = to_json(payload)
        keep_replay(tx, caller.key_id, key, sha, status, body.decode())
        return status, body, False

    store: Store = request.app.state.rooms.store
    status, body, replayed = await store.write(work)
    if afterwards is not None and not replayed:
        body = await _fuller(store, body, afterwards, (caller.key_id, key))
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    return Response(body, status, headers, "application/json")


async def _fuller(store: Store, body: bytes, afterwards: Afterwards, replay: tuple[str, str | None]) -> bytes:
    """The answer as `afterwards` makes it. What was done is done: a store that fails now takes nothing back, so the first answer
    goes out."""
    key_id, key = replay
    try:
        payload = await afterwards(orjson.loads(body))
        if payload is None:
            return body
        fuller = to_json(payload)
        if key is not None:
            text = fuller.decode()
            await store.write(lambda tx: amend_replay(tx, key_id, key, text))
    except StoreFailed:
        return body
    return fuller


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return None
    if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise Problem(422, "bad_idempotency_key", f"an Idempotency-Key has 1 to {MAX_KEY} printable ASCII characters")
    return key


async def _request_sha(request: Request) -> str:
    head = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(head + await request.body()).hexdigest()


def _reused() -> Problem:
    detail = "this Idempotency-Key was used for another request; take a fresh key for every new request"
    return Problem(422, "idempotency_key_reused", detail)
