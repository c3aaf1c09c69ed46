"""One OctoPrint as the farm's driver port.

Every command first asks what the machine runs and then names its wish explicitly, because OctoPrint's own commands act on
whatever happens to be selected: "start" without a file succeeds silently, "pause" without an action toggles, and an upload
that should print tells no one when it did not. Nothing here decides that a print failed.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from drivers.contract import (
    Busy,
    Capability,
    NotOurs,
    Outcome,
    Phase,
    Progress,
    Refused,
    RemoteFile,
    Snapshot,
    Unreachable,
)
from drivers.octoprint.mailbox import Mailbox
from drivers.octoprint.protocol import FOLDER, HOLDING, Report, read_job, read_outcome, remote_path, token_of
from drivers.octoprint.push import log_in
from drivers.octoprint.rest import Rest, check_key, check_url
from drivers.octoprint.upload import FileBody
from drivers.octoprint.watcher import Epochs, Watcher

RESYNC_SECONDS = 20.0
UPLOAD_SECONDS = 60.0
UPLOAD_BYTES_PER_SECOND = 100_000  # a Raspberry Pi on weak radio
STATISTICS_READS = 5
STATISTICS_SECONDS = 0.1

_FILES = "/api/files/local/"


class OctoPrintDriver:
    """Implements `drivers.contract.Driver`. Raises `ValueError` for an unusable address or key."""

    capabilities = frozenset(Capability) - {Capability.ANSWER}

    def __init__(
        self,
        printer_id: str,
        url: str,
        api_key: str,
        *,
        resync: float = RESYNC_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._printer_id = printer_id
        self._resync = resync
        self._jitter = jitter
        self._rest = Rest(check_url(url), check_key(api_key))
        self._epochs = Epochs()
        self._watching: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"OctoPrintDriver({self._printer_id!r}, {self._rest.url!r})"

    async def connect(self) -> None:
        """Check that an OctoPrint answers and takes the key. The port's `Unauthorized` and `Unreachable`."""
        try:
            await log_in(self._rest)
        except Refused as error:
            raise Unreachable(f"{self._rest.url} is not an OctoPrint we can use: {error}") from error

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See the port. Each call looks on its own."""
        mailbox = Mailbox()
        watcher = Watcher(self._rest, self._printer_id, self._epochs, mailbox, self._resync, self._jitter)
        task = asyncio.create_task(watcher.run())
        task.add_done_callback(lambda _done: mailbox.end())
        self._watching.add(task)
        try:
            while (snapshot := await mailbox.next()) is not None:
                yield snapshot
            if not task.cancelled():
                task.result()
        finally:
            self._watching.discard(task)
            task.cancel()
            await asyncio.wait([task])

    async def upload(self, file: Path, token: str, progress: Progress) -> RemoteFile:
        """See the port. The stored file's size and, where OctoPrint tells it, SHA-1 are compared with what was sent."""
        path = remote_path(token)
        action = f"upload {path}"
        body = FileBody(file, path.removeprefix(f"{FOLDER}/"), _upload_fields(token), progress)
        seconds = UPLOAD_SECONDS + body.size / UPLOAD_BYTES_PER_SECOND
        reply = await self._rest.send("/api/files/local", body, body.headers, action, seconds)
        stored = _stored_path(reply.body)
        if token_of(stored) != token:
            raise Refused(f"OctoPrint stored {path} as {stored!r}; look for a plugin that renames or moves uploads")
        details = (await self._rest.ask(_FILES + path, f"check {path}")).body
        details = details if isinstance(details, dict) else {}
        if details.get("size") != body.size:
            raise Refused(f"{path} is {details.get('size')} bytes on OctoPrint, not {body.size}", retryable=True)
        if isinstance(details.get("hash"), str) and details["hash"] != body.sha1:
            raise Refused(f"{path} has other bytes on OctoPrint than were sent", retryable=True)
        return RemoteFile(path, token, body.size)

    async def start(self, remote: RemoteFile, slot: str | None = None) -> None:  # noqa: ARG002 - one place only
        """See the port. Selecting and printing in one call is the only start OctoPrint refuses on a busy machine."""
        self._check_ours(remote)
        try:
            await self._rest.tell(_FILES + remote.path, {"command": "select", "print": True}, f"start {remote.path}")
        except Busy as error:
            # It answers "already printing" for a machine that is merely not connected.
            report = await self._look_after_refusal()
            if report.phase in (Phase.OFFLINE, Phase.ERROR):
                raise Refused(
                    f"cannot start {remote.path}: {report.message}; connect the printer in OctoPrint",
                    retryable=report.phase is Phase.OFFLINE,
                ) from error
            raise

    async def pause(self, token: str) -> None:
        """See the port. `Refused` when nothing is being printed."""
        report = await self._own_print(token, "pause")
        if report.state not in HOLDING:
            await self._command({"command": "pause", "action": "pause"}, f"pause {token}")

    async def resume(self, token: str) -> None:
        """See the port. `Refused` when nothing is being printed."""
        report = await self._own_print(token, "resume")
        if report.state in HOLDING:
            await self._command({"command": "pause", "action": "resume"}, f"resume {token}")

    async def answer(self, token: str, choice: int) -> None:
        """See the port. OctoPrint keeps what the machine asks to itself."""
        raise Refused(f"cannot answer {choice} for {token}: OctoPrint does not say what the machine asks")

    async def cancel(self, token: str) -> None:
        """See the port."""
        report = await self._job()
        if not report.active:
            return
        if report.token != token:
            raise NotOurs(f"cannot cancel {token}: {report.file or 'another print'} is on the machine")
        if report.phase is not Phase.STOPPING:
            # 409: it came to rest since we looked, which is what was asked for.
            accept = frozenset({200, 204, 409})
            await self._rest.tell("/api/job", {"command": "cancel"}, f"cancel {token}", accept=accept)

    async def outcome(self, token: str) -> Outcome | None:
        """See the port. OctoPrint counts a cancelled print as FAILED, and writes nothing when it was killed while printing."""
        path = remote_path(token)
        for reading in range(STATISTICS_READS):
            answer = await self._rest.ask(_FILES + path, f"read the history of {path}", accept=frozenset({200, 404}))
            outcome = read_outcome(answer.body)
            if outcome is not None or answer.status == 404:
                return outcome
            # The history is written up to 0.1 s after the end. Only the job still selected can have ended just now.
            if reading == 0:
                report = await self._job()
                if report.token != token or report.active:
                    return None
            await asyncio.sleep(STATISTICS_SECONDS)
        return None

    async def remove(self, remote: RemoteFile) -> None:
        """See the port."""
        self._check_ours(remote)
        await self._rest.delete(_FILES + remote.path, f"delete {remote.path}", accept=frozenset({200, 204, 404}))

    async def close(self) -> None:
        """See the port."""
        watching = list(self._watching)
        for task in watching:
            task.cancel()
        if watching:
            await asyncio.wait(watching)
        await self._rest.close()

    async def _job(self) -> Report:
        """What is on the machine; `Unreachable` when the answer does not tell."""
        report = read_job((await self._rest.ask("/api/job", "read the job")).body)
        if report.phase is None:
            raise Unreachable(report.message or "the job cannot be read")
        return report

    async def _own_print(self, token: str, action: str) -> Report:
        report = await self._job()
        if not report.active:
            raise Refused(f"cannot {action} {token}: nothing is being printed")
        if report.token != token:
            raise NotOurs(f"cannot {action} {token}: {report.file or 'another print'} is on the machine")
        if report.phase is Phase.STOPPING:
            raise Refused(f"cannot {action} {token}: it is being cancelled")
        return report

    async def _command(self, command: dict[str, str], action: str) -> None:
        try:
            await self._rest.tell("/api/job", command, action)
        except Busy as error:
            raise Refused(str(error)) from error  # here a 409 says that nothing is being printed any more

    async def _look_after_refusal(self) -> Report:
        """What occupies a machine that just refused; the refusal stands even when this cannot be read."""
        try:
            return await self._job()
        except Unreachable:
            return Report(phase=None)

    def _check_ours(self, remote: RemoteFile) -> None:
        if token_of(remote.path) is None or token_of(remote.path) != remote.token:
            raise NotOurs(f"{remote.path} was not uploaded by a farm under token {remote.token}")


def _upload_fields(token: str) -> dict[str, str]:
    # "userdata" lets a person at OctoPrint's page see what the file is for; the name alone carries the meaning.
    return {"path": FOLDER, "userdata": f'{{"token": "{token}"}}'}


def _stored_path(reply: object) -> object:
    """Where the reply to an upload says the file lies."""
    for key in ("files", "local"):
        reply = reply.get(key) if isinstance(reply, dict) else None
    return reply.get("path") if isinstance(reply, dict) else None
