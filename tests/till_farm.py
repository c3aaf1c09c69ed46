"""A farm that is paid through Stripe: the real application, till and sweep on a real store, and the double of Stripe on a socket.

Time is one for both: the farm's world is the double's clock, and `forward` moves them together. Nothing of farmd is replaced.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmd.config import StripeSettings
from farmd.store import till
from farmd.store.tables import skus
from tests.doubles.stripe_double import StripeDouble, stripe_double
from tests.farm import Farm, FarmWorld, open_farm, serve
from tests.waiting import pause


@dataclass
class TillFarm:
    """A farm, its Stripe, and what a test does with both."""

    farm: Farm
    stripe: StripeDouble
    url: str

    async def place(self, quantity: int = 3, **changes: Any) -> dict[str, Any]:
        return await self.farm.place(quantity, **changes)

    async def get(self, order: dict[str, Any] | str) -> dict[str, Any]:
        order_id = order if isinstance(order, str) else order["id"]
        answer = await self.farm.operator.get(f"/api/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, order: dict[str, Any], verb: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        answer = await self.farm.operator.post(f"/api/orders/{order['id']}/{verb}", json=body or {})
        assert answer.status_code == status, answer.text
        return answer.json()

    def session(self, order: dict[str, Any]) -> dict[str, Any]:
        """The newest session of an order at Stripe."""
        return [each for each in self.stripe.sessions.values() if each["client_reference_id"] == order["id"]][-1]

    def intent(self, order: dict[str, Any]) -> str:
        return next(key for key, each in self.stripe.intents.items() if each["metadata"].get("order_id") == order["id"])

    async def pay(self, order: dict[str, Any]) -> dict[str, Any]:
        """The customer pays, and the farm finds out."""
        self.stripe.pay(self.session(order)["id"])
        return await self.until(order, lambda view: view["paymentStatus"] in ("paid", "authorized"))

    async def until(self, order: dict[str, Any], good: Callable[[dict[str, Any]], bool], seconds: float = 15.0) -> dict[str, Any]:
        """Wait until the order looks like this; fail with how it looks."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not good(view := await self.get(order)):
            waited = loop.time() - began
            assert waited < seconds, view
            await asyncio.sleep(pause(waited))
        return view

    async def is_quiet(self, seconds: float = 15.0) -> None:
        """Wait until nothing is due at the till and no message is on its way."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not (self.stripe.webhooks.idle and await self.farm.store.read(self._nothing_due) and not self.hand._busy):
            waited = loop.time() - began
            assert waited < seconds, "the till never came to rest"
            await asyncio.sleep(pause(waited))

    def _nothing_due(self, connection: Any) -> bool:
        now = self.farm.world.now()
        return not till.due(connection, now, (), 10) and not till.new_messages(connection)

    @property
    def hand(self) -> Any:
        assert self.farm.rooms.desk is not None
        return self.farm.rooms.desk.till

    async def sweep(self) -> None:
        """The clock strikes."""
        assert self.farm.rooms.desk is not None
        await self.farm.rooms.desk.sweep.round()
        await self.is_quiet()

    async def forward(self, seconds: float) -> None:
        """Time passes for everybody."""
        self.farm.world.forward(seconds)
        self.stripe.forward(0)  # what fell due at Stripe meanwhile happens
        self.farm.store.ring({till.TOPIC})
        await self.is_quiet()

    def attention(self, view: dict[str, Any]) -> set[str]:
        return {entry["code"] for entry in view["attention"]}


@asynccontextmanager
async def till_farm(
    folder: Path, *, webhooks: bool = True, world: FarmWorld | None = None, stripe: StripeDouble | None = None, **options: Any
) -> AsyncIterator[TillFarm]:
    """A running farm; `options` are those of `[payments.stripe]`, with `settings=` any others; `sku=False` sells nothing.
    A `stripe` that outlives the farm may be handed in, together with its `world`."""
    if stripe is None:
        world = world or FarmWorld()
        with stripe_double(clock=lambda: world.now().timestamp(), seed=1) as fresh:
            async with till_farm(folder, webhooks=webhooks, world=world, stripe=fresh, **options) as farm:
                yield farm
        return
    assert world is not None
    settings, sku = options.pop("settings", {}), options.pop("sku", True)
    known = {"webhook_secrets": (stripe.secret,), "api_base": stripe.url, "success_url": "https://shop.test/thanks"}
    chosen = StripeSettings(stripe.key, **(known | options))
    stripe.webhooks.signing_clock = lambda: world.now().timestamp()
    async with (
        open_farm(folder, world=world, payment_provider="stripe", stripe=chosen, **settings) as farm,
        serve(farm.app) as url,
    ):
        if webhooks:
            stripe.deliver_to(f"{url}/webhooks/stripe")
        if sku and not await farm.store.read(lambda c: c.execute(skus.select()).first()):  # one that starts again has its catalog
            await farm.add_sku(unitPrice=12 if settings.get("currency") == "JPY" else 12.5)
        yield TillFarm(farm, stripe, url)


def play(story: Callable[..., Any]) -> Callable[..., None]:
    """Make a test of an async function."""

    @functools.wraps(story)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(story(*arguments, **named))

    return run
