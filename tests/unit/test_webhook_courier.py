"""The courier over real sockets, against receivers that fail, hang, redirect, throttle and disappear."""

import asyncio
import functools
import gc
import ssl
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from farmd.events.addresses import Policy
from farmd.events.signing import new_secret
from farmd.events.webhooks import Courier
from farmd.store import subscriptions
from farmd.store.engine import Store, Tx
from farmd.store.outbox import emit
from farmd.store.subscriptions import NewWebhook
from farmd.world import SystemWorld
from tests.farm import open_store
from tests.receiver import DROP, HANG, Message, Receiver, Reply
from tests.waiting import until

pytestmark = pytest.mark.slow

SOON = (0.0, *[0.02] * 30)
WORLD = SystemWorld()
TLS = ssl.create_default_context()


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


@asynccontextmanager
async def carrying(store: Store, *, own: tuple[str, int] = ("127.0.0.1", 8787), **options: Any) -> AsyncIterator[Courier]:
    """A courier at work, with a short schedule."""
    policy = options.pop("policy", None) or Policy(["127.0.0.1"], own)
    courier = Courier(store, WORLD, policy, **({"schedule": SOON, "timeout": 5.0, "tls": TLS} | options))
    task = asyncio.create_task(courier.run())
    try:
        yield courier
        assert not task.done(), task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def listen(store: Store, url: str, events: Sequence[str] = ("*",), **more: Any) -> Any:
    secret = new_secret(WORLD)
    row, _ = await store.write(lambda tx: subscriptions.subscribe(tx, NewWebhook(url, list(events), **more), secret))
    return row


async def tell(store: Store, *orders: str | None, event: str = "printer.attention") -> None:
    """One event for each name; the same name twice is a later event of the same order."""

    def work(tx: Tx) -> None:
        for order in orders:
            emit(tx, event, order_id=order, note="ü")

    await store.write(work)


async def deliveries(store: Store, webhook: Any, state: str | None = None) -> list[Any]:
    read = functools.partial(subscriptions.deliveries, webhook_id=webhook["id"], before=None, state=state, limit=1000)
    return await store.read(lambda connection: read(connection))


async def until_all(store: Store, webhook: Any, state: str, count: int, seconds: float = 10) -> list[Any]:
    deadline = time.monotonic() + seconds
    while len(found := await deliveries(store, webhook, state)) < count:
        assert time.monotonic() < deadline, [dict(row) for row in await deliveries(store, webhook)]
        await asyncio.sleep(0.01)
    return found


@scenario
async def test_a_message_arrives_signed_with_its_headers_and_exactly_once(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver, carrying(store):
        webhook = await listen(store, receiver.url + "?key=%20x", headers={"X-Farm": "north", "Authorization": "Bearer t"})
        await tell(store, "ord-1")
        (row,) = await until_all(store, webhook, "DELIVERED", 1)
        (message,) = receiver.messages
        assert message.verify(webhook["secret"])["type"] == "printer.attention"
        assert message.event["data"] == {"sequence": 1, "orderId": "ord-1", "note": "ü"}
        assert message.path == "/hook?key=%20x"
        assert message.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert message.headers["content-type"] == "application/json"
        assert (message.headers["x-farm"], message.headers["authorization"]) == ("north", "Bearer t")
        assert (row["status"], row["tries"], row["message_id"]) == (200, 1, message.id)
        assert row["delivered_at"] is not None


@scenario
async def test_only_what_was_subscribed_to_is_sent(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver, carrying(store):
        webhook = await listen(store, receiver.url, ["order.*", "printer.bed_cleared"])
        await tell(store, "ord-1", event="job.created")
        await tell(store, None, event="printer.attention")
        await tell(store, "ord-1", event="order.attention")
        await tell(store, None, event="printer.bed_cleared")
        await until_all(store, webhook, "DELIVERED", 2)
        assert sorted(message.type for message in receiver.messages) == ["order.attention", "printer.bed_cleared"]


@scenario
async def test_order_is_kept_under_failures_and_every_try_has_the_same_id(tmp_path: Path):
    refusals = Counter[str]()

    def moody(message: Message) -> Reply | str:
        refusals[message.id] += 1
        sequence = message.event["data"]["sequence"]
        if refusals[message.id] <= sequence % 4:
            return (Reply(500, body=b"no"), DROP, Reply(307, {"Location": "/elsewhere"}))[sequence % 3]
        return Reply(204)

    orders = [f"ord-{number}" for number in range(6)]
    async with open_store(tmp_path, WORLD) as store, Receiver(moody) as receiver, carrying(store):
        webhook = await listen(store, receiver.url)
        for _ in range(5):
            await tell(store, *orders)
        rows = await until_all(store, webhook, "DELIVERED", 30)
    assert len(receiver.taken) == 30
    taken = defaultdict(list)
    for message in receiver.taken:
        taken[message.order].append(message.event["data"]["sequence"])
    assert all(sequences == sorted(sequences) for sequences in taken.values())
    assert {message.id for message in receiver.messages} == {row["message_id"] for row in rows}
    assert len({row["message_id"] for row in rows}) == 30
    assert not [message for message in receiver.messages if message.path != "/hook"], "a redirect was followed"
    assert {row["sequence"]: row["tries"] for row in rows} == {n: n % 4 + 1 for n in range(1, 31)}


@scenario
async def test_a_later_event_waits_behind_an_earlier_one_of_its_order_only(tmp_path: Path):
    stuck = True

    def plan(message: Message) -> Reply:
        return Reply(500 if stuck and message.order == "ord-1" else 200)

    async with open_store(tmp_path, WORLD) as store, Receiver(plan) as receiver, carrying(store):
        webhook = await listen(store, receiver.url)
        await tell(store, "ord-1", "ord-1", "ord-2", "ord-2", None, None)
        await until_all(store, webhook, "DELIVERED", 4)
        await until(lambda: len([message for message in receiver.messages if message.order == "ord-1"]) >= 3)
        assert {m.event["data"]["sequence"] for m in receiver.messages if m.order == "ord-1"} == {1}
        stuck = False
        await until_all(store, webhook, "DELIVERED", 6)
        assert [m.event["data"]["sequence"] for m in receiver.taken if m.order == "ord-1"] == [1, 2]


@scenario
async def test_a_receiver_that_hangs_delays_nobody_else(tmp_path: Path):
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(tmp_path, WORLD))
        hanging = [await stack.enter_async_context(Receiver(lambda _message: HANG)) for _ in range(3)]
        well = await stack.enter_async_context(Receiver())
        await stack.enter_async_context(carrying(store, timeout=60.0))
        for receiver in hanging:
            await listen(store, receiver.url)
        webhook = await listen(store, well.url)
        await tell(store, *[f"ord-{number}" for number in range(40)])
        await until_all(store, webhook, "DELIVERED", 40, seconds=10)
        assert all(receiver.connections == 8 for receiver in hanging), "the cap per webhook is 8"


@scenario
async def test_a_hang_ends_with_the_timeout_and_is_tried_again(tmp_path: Path):
    seen = Counter[str]()

    def plan(message: Message) -> Reply | str:
        seen[message.id] += 1
        return HANG if seen[message.id] == 1 else Reply()

    async with open_store(tmp_path, WORLD) as store, Receiver(plan) as receiver, carrying(store, timeout=0.2):
        webhook = await listen(store, receiver.url)
        await tell(store, "ord-1")
        (row,) = await until_all(store, webhook, "DELIVERED", 1)
        assert row["tries"] == 2
        assert len(receiver.messages) == 2


@scenario
async def test_gone_switches_the_webhook_off_and_back_on_it_goes_on(tmp_path: Path):
    gone = True
    async with open_store(tmp_path, WORLD) as store, Receiver(lambda _m: Reply(410 if gone else 200)) as receiver:
        webhook = await listen(store, receiver.url)
        await tell(store, "ord-1", "ord-1")
        async with carrying(store):
            await until_all(store, webhook, "DEAD", 1)
            row = await store.read(lambda connection: subscriptions.webhook(connection, webhook["id"]))
            assert not row["active"]
            assert "410" in row["disabled_reason"]
            await tell(store, "ord-2")
            assert len(receiver.messages) == 1
            gone = False
            await store.write(lambda tx: subscriptions.alter(tx, row, {"active": True}))
            await until_all(store, webhook, "DELIVERED", 1)
        assert [message.event["data"]["sequence"] for message in receiver.taken] == [2]


@scenario
async def test_when_the_schedule_ran_out_the_letter_is_dead_and_the_next_one_goes(tmp_path: Path):
    def plan(message: Message) -> Reply:
        return Reply(500 if message.event["data"]["sequence"] == 1 else 200, body=b"broken pipe " * 1000)

    async with open_store(tmp_path, WORLD) as store, Receiver(plan) as receiver, carrying(store, schedule=(0.0, 0.01, 0.01)):
        webhook = await listen(store, receiver.url)
        await tell(store, "ord-1", "ord-1")
        (dead,) = await until_all(store, webhook, "DEAD", 1)
        await until_all(store, webhook, "DELIVERED", 1)
        assert (dead["tries"], dead["status"]) == (3, 500)
        assert dead["detail"].startswith("broken pipe")
        assert len(dead["detail"]) == 1024
        events = await store.read(lambda connection: connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one())
        assert events == 2, "a dead letter must not make new events"
        plan_ok = Reply()
        receiver.plan = lambda _message: plan_ok
        await store.write(lambda tx: subscriptions.retry(tx, webhook["id"], dead["id"]))
        await until_all(store, webhook, "DELIVERED", 2)
        assert receiver.taken[-1].id == dead["message_id"]


@scenario
async def test_a_throttled_lane_is_quiet_as_long_as_the_receiver_asks(tmp_path: Path):
    def plan(_message: Message) -> Reply:
        return Reply(429, {"Retry-After": "1"}) if len(receiver.messages) == 1 else Reply()

    async with open_store(tmp_path, WORLD) as store, Receiver(plan) as receiver, carrying(store, at_once=1):
        webhook = await listen(store, receiver.url)
        began = time.monotonic()
        await tell(store, "ord-1", "ord-2")
        await until_all(store, webhook, "DELIVERED", 2)
        assert time.monotonic() - began >= 1.0
        assert len(receiver.messages) == 3


@scenario
async def test_nobody_there_is_a_reason_and_the_next_try_finds_the_receiver(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store:
        async with Receiver() as away:
            port, url = away.port, away.url
        webhook = await listen(store, url)
        async with carrying(store):
            await tell(store, "ord-1")
            rows: list[Any] = []
            while not rows or not rows[0]["tries"]:
                rows = await deliveries(store, webhook)
            assert rows[0]["status"] is None
            assert "Connect" in rows[0]["detail"]
            async with Receiver(port=port) as back:
                await until_all(store, webhook, "DELIVERED", 1)
                assert len(back.taken) == 1


@scenario
async def test_an_endless_answer_is_cut_off(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver(lambda _m: Reply(500, endless=True)) as receiver:
        webhook = await listen(store, receiver.url)
        async with carrying(store, schedule=(0.0,), timeout=30.0):
            await tell(store, "ord-1")
            (dead,) = await until_all(store, webhook, "DEAD", 1, seconds=5)
        assert dead["detail"] == "x" * 1024


@scenario
async def test_a_courier_that_starts_after_a_crash_goes_on_with_the_same_ids(tmp_path: Path):
    async with Receiver(lambda _message: HANG) as receiver:
        async with open_store(tmp_path, WORLD) as store:
            webhook = await listen(store, receiver.url)
            await tell(store, *[f"ord-{number % 5}" for number in range(20)])
            async with carrying(store, timeout=60.0):
                await until(lambda: len(receiver.messages) == 5)
        before = [message.id for message in receiver.messages]
        receiver.plan = lambda _message: Reply()
        async with open_store(tmp_path, WORLD) as store, carrying(store):
            await until_all(store, webhook, "DELIVERED", 20)
    assert set(before) <= {message.id for message in receiver.taken}
    assert len(receiver.taken) == len({message.id for message in receiver.taken}) == 20
    for number in range(5):
        mine = [m.event["data"]["sequence"] for m in receiver.taken if m.order == f"ord-{number}"]
        assert mine == sorted(mine)


@scenario
async def test_replay_sends_every_matching_event_again_in_order_under_its_old_id(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver, carrying(store):
        await tell(store, "ord-0", "ord-0")  # nobody listens yet
        webhook = await listen(store, receiver.url, ["printer.*"])
        await tell(store, "ord-1", "ord-1")
        await tell(store, "ord-1", event="job.created")
        await until_all(store, webhook, "DELIVERED", 2)
        ids = {message.event["data"]["sequence"]: message.id for message in receiver.taken}
        receiver.taken.clear()
        assert await store.write(lambda tx: subscriptions.replay(tx, webhook, 1)) == (3, None)
        await until(lambda: len(receiver.taken) == 3)
        assert sorted(m.event["data"]["sequence"] for m in receiver.taken) == [2, 3, 4]
        assert [m.event["data"]["sequence"] for m in receiver.taken if m.order == "ord-1"] == [3, 4]
        assert all(ids.get(m.event["data"]["sequence"], m.id) == m.id for m in receiver.taken)
        await until_all(store, webhook, "DELIVERED", 3)
        assert await store.write(lambda tx: subscriptions.replay(tx, webhook, 0, page=2)) == (2, 2)


@scenario
async def test_a_rotated_secret_signs_beside_the_old_one(tmp_path: Path):
    from farmd.events.signing import rotated

    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver, carrying(store):
        webhook = await listen(store, receiver.url)
        fresh = new_secret(WORLD)
        await store.write(lambda tx: subscriptions.alter(tx, webhook, {"secret": rotated(webhook["secret"], fresh)}))
        await tell(store, "ord-1")
        await until(lambda: receiver.taken)
        receiver.taken[0].verify(webhook["secret"])
        receiver.taken[0].verify(fresh)


@scenario
async def test_a_deleted_webhook_takes_its_deliveries_along_even_under_way(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver(lambda _m: HANG) as receiver, carrying(store, timeout=0.3):
        webhook = await listen(store, receiver.url)
        await tell(store, "ord-1", "ord-2")
        await until(lambda: len(receiver.messages) == 2)
        await store.write(lambda tx: subscriptions.unsubscribe(tx, webhook["id"]))
        async with Receiver() as other:
            again = await listen(store, other.url)
            await tell(store, "ord-3")
            await until_all(store, again, "DELIVERED", 1)
        await asyncio.sleep(0)
        assert await deliveries(store, webhook) == []


@scenario
async def test_an_address_that_turned_bad_is_not_connected_to(tmp_path: Path):
    answers = [["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers[-1]

    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver:
        policy = Policy(["127.0.0.1"], ("127.0.0.1", 8787), rebinding)
        webhook = await listen(store, f"http://shop.example:{receiver.port}/hook")
        async with carrying(store, policy=policy):
            await tell(store, "ord-1")
            await until_all(store, webhook, "DELIVERED", 1)
            assert receiver.taken[0].headers["host"] == f"shop.example:{receiver.port}"
            answers.append(["127.0.0.2"])
            await tell(store, "ord-2")
            rows: list[Any] = []
            while not rows or not rows[0]["tries"]:
                rows = await deliveries(store, webhook, "PENDING")
            assert rows[0]["status"] is None
            assert "private address" in rows[0]["detail"]
            assert len(receiver.messages) == 1


@scenario
async def test_the_next_address_is_tried_when_the_first_does_not_answer(tmp_path: Path):
    async def both(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver:
        webhook = await listen(store, f"http://localhost:{receiver.port}/hook")
        async with carrying(store, policy=Policy(["127.0.0.1"], ("127.0.0.1", 8787), both)):
            await tell(store, "ord-1")
            (row,) = await until_all(store, webhook, "DELIVERED", 1)
            assert row["tries"] == 1


@scenario
async def test_farmd_itself_never_receives(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver:
        webhook = await listen(store, receiver.url)
        async with carrying(store, own=("127.0.0.1", receiver.port), schedule=(0.0,)):
            await tell(store, "ord-1")
            (dead,) = await until_all(store, webhook, "DEAD", 1)
        assert "farmd itself" in dead["detail"]
        assert receiver.connections == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import subprocess

    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=shop.example -addext subjectAltName=DNS:shop.example"
    subprocess.run([*command.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(("name", "state"), [("shop.example", "DELIVERED"), ("other.example", "DEAD")])
def test_tls_proves_the_name_though_the_address_is_pinned(tmp_path: Path, certificate: Path, name: str, state: str):
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def run() -> None:
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        async with open_store(tmp_path, WORLD) as store, Receiver(tls=serving) as receiver:
            webhook = await listen(store, f"https://{name}:{receiver.port}/hook")
            policy = Policy(["127.0.0.1"], ("127.0.0.1", 8787), here)
            async with carrying(store, policy=policy, tls=trusting, schedule=(0.0,)):
                await tell(store, "ord-1")
                (row,) = await until_all(store, webhook, state, 1)
            assert (state == "DELIVERED") == bool(receiver.taken)
            if state == "DEAD":
                assert "certificate" in row["detail"].lower()

    asyncio.run(run())


@scenario
async def test_nothing_is_asked_of_the_store_while_nothing_is_due(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver(lambda _m: Reply(500)) as receiver:
        webhook = await listen(store, receiver.url)
        async with carrying(store, schedule=(0.0, 3600.0)):
            await tell(store, "ord-1", "ord-1", "ord-2")
            await until(lambda: len(receiver.messages) == 2)
            await asyncio.sleep(0.2)  # for the answers to be recorded, and for whatever should not happen afterwards
            asked: list[str] = []
            sqlalchemy.event.listen(store.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
            await asyncio.sleep(0.5)
            assert asked == []
            assert [row["tries"] for row in await deliveries(store, webhook)] == [1, 0, 1]


@scenario
async def test_a_stop_at_any_moment_closes_every_connection(tmp_path: Path):
    async with open_store(tmp_path, WORLD) as store, Receiver() as receiver:
        await listen(store, receiver.url)
        for step in range(30):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ResourceWarning)
                async with carrying(store):
                    await tell(store, *[f"ord-{step}-{number}" for number in range(8)])
                    await asyncio.sleep(step * 0.002)  # the moment of the stop, not a wait for anything
                gc.collect()
            assert [str(warning.message) for warning in caught] == []
