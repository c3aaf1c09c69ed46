"""The courier: carries every pending delivery to its webhook, at least once, in order per webhook and order.

One lane per webhook, each a task of its own with its own client and its own cap on what is under way; a receiver that hangs fills
its own lane and nobody else's. A lane decides from rows alone and sleeps until the store rings or the next try is due, so a
courier that starts after a crash goes on where the rows say. Nothing is sent inside a transaction, and no secret and no URL is
ever logged.
"""

import asyncio
import ssl
from collections.abc import Sequence

import structlog

from farmd.domain.ports import World
from farmd.events.addresses import Policy
from farmd.events.retries import SCHEDULE, Answer, judge, pause
from farmd.events.sending import Sender
from farmd.events.signing import sign
from farmd.store.courier import Mail, look, settle, with_mail
from farmd.store.engine import Store, StoreFailed
from farmd.store.rows import Row

AT_ONCE = 8
"""Deliveries under way per webhook."""
LOOK_AGAIN_SECONDS = 60.0  # a wall clock set forward or back costs a minute at most
STORE_REST_SECONDS = 5.0
LONGEST_PAUSE = 300.0  # one throttled answer quiets the whole lane, but not for a day
log = structlog.get_logger()


class Courier:
    """Delivers until it is cancelled. There must be one courier per store."""

    def __init__(
        self,
        store: Store,
        world: World,
        policy: Policy,
        *,
        timeout: float = 15.0,
        schedule: Sequence[float] = SCHEDULE,
        at_once: int = AT_ONCE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._store, self._world, self._policy = store, world, policy
        self._timeout, self._schedule, self._at_once = timeout, tuple(schedule), at_once
        self._tls = tls
        self._lanes: dict[str, Lane] = {}

    async def run(self) -> None:
        """Forever: see that each webhook with something pending has a lane that looks."""
        watch = self._store.watch("deliveries")
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    for webhook_id in await self._with_mail():
                        lane = self._lanes.get(webhook_id)
                        if lane is None:
                            tasks.create_task(self._serve(webhook_id), name=f"webhook-{webhook_id}")
                        else:
                            lane.look()
                    await watch.wait(LOOK_AGAIN_SECONDS)
        finally:
            self._store.unwatch(watch)

    async def _with_mail(self) -> Sequence[str]:
        try:
            return await self._store.read(with_mail)
        except Exception as error:  # the store may be away for a moment; the courier must outlive that
            log.error("courier.cannot_read", error=str(error))
            await asyncio.sleep(STORE_REST_SECONDS)
            return list(self._lanes)

    async def _serve(self, webhook_id: str) -> None:
        self._tls = self._tls or ssl.create_default_context()  # here, since reading all certificates takes a tenth of a second
        sender = Sender(self._world, self._policy, self._tls, timeout=self._timeout)
        lane = Lane(self._store, self._world, sender, webhook_id, self._schedule, self._at_once)
        self._lanes[webhook_id] = lane
        try:
            await lane.run()
        finally:
            del self._lanes[webhook_id]  # before anything awaits: the next look must find a lane that looks, or none
            await sender.close()


class Lane:
    """What goes to one webhook."""

    def __init__(
        self, store: Store, world: World, sender: Sender, webhook_id: str, schedule: Sequence[float], at_once: int
    ) -> None:
        self._store, self._world, self._sender, self._webhook_id = store, world, sender, webhook_id
        self._schedule, self._at_once = schedule, at_once
        self._bell = asyncio.Event()
        self._under_way: set[int] = set()
        self._quiet_until = 0.0  # on the loop's clock

    def look(self) -> None:
        """Look at the rows again, now or as soon as there is room."""
        self._bell.set()

    async def run(self) -> None:
        """Until nothing is pending."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tries:
            while True:
                self._bell.clear()
                wait: float | None = None
                if (quiet := self._quiet_until - loop.time()) > 0:
                    wait = quiet
                elif len(self._under_way) < self._at_once:
                    mail = await self._mail()
                    for row in mail.due:
                        self._under_way.add(row["id"])
                        tries.create_task(self._try(mail.webhook, row))
                    if not self._under_way and mail.next_at is None and not self._bell.is_set():
                        return
                    wait = self._until(mail)
                await self._rest(wait)

    def _until(self, mail: Mail) -> float | None:
        if mail.next_at is None:
            return None
        return min(max((mail.next_at - self._world.now()).total_seconds(), 0.0), LOOK_AGAIN_SECONDS)

    async def _rest(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return

    async def _mail(self) -> Mail:
        now, room, under_way = self._world.now(), self._at_once - len(self._under_way), frozenset(self._under_way)
        try:
            return await self._store.read(lambda connection: look(connection, self._webhook_id, now, room, under_way))
        except Exception as error:  # the store may be away for a moment; the lane must outlive that
            log.error("webhook.cannot_read", webhook=self._webhook_id, error=str(error))
            await asyncio.sleep(STORE_REST_SECONDS)
            self._bell.set()
            return Mail(None, (), None)

    async def _try(self, webhook: Row | None, row: Row) -> None:
        try:
            if webhook is not None:
                await self._deliver(webhook, row)
        except StoreFailed as error:  # the row still says pending: it is sent again, under the same id
            log.error("webhook.not_recorded", webhook=self._webhook_id, message=row["message_id"], error=str(error))
            await asyncio.sleep(STORE_REST_SECONDS)
        except Exception as error:  # the supervised edge: one message must not take the lane with it
            log.error("webhook.try_failed", webhook=self._webhook_id, message=row["message_id"], error=repr(error))
            await asyncio.sleep(STORE_REST_SECONDS)
        finally:
            self._under_way.discard(row["id"])
            self._bell.set()

    async def _deliver(self, webhook: Row, row: Row) -> None:
        body = row["body"].encode()
        timestamp = int(self._world.now().timestamp())
        headers = dict(webhook["headers"]) | {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "farmd",
            "webhook-id": row["message_id"],
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(webhook["secret"], row["message_id"], timestamp, body),
        }
        answer = await self._sender.post(webhook["url"], headers, body)
        now, tries = self._world.now(), row["tries"] + 1
        settled = judge(answer, tries, now, self._world.chance(), self._schedule)
        if (quiet := min(pause(answer, now), LONGEST_PAUSE)) > 0:
            self._quiet_until = max(self._quiet_until, asyncio.get_running_loop().time() + quiet)
        await self._store.write(lambda tx: settle(tx, row, settled))
        self._tell(row, answer, settled.state, tries, settled.gone)

    def _tell(self, row: Row, answer: Answer, state: str, tries: int, gone: str | None) -> None:
        facts = {"webhook": self._webhook_id, "message": row["message_id"], "type": row["type"], "tries": tries}
        facts |= {"status": answer.status, "took_ms": answer.took_ms}
        if state == "DELIVERED":
            log.info("webhook.delivered", **facts)
        elif state == "PENDING":
            log.info("webhook.try_again", **facts)
        else:
            log.warning("webhook.switched_off" if gone else "webhook.dead_letter", **facts, attention=True)
