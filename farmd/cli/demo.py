"""`farmd demo`: an order placed, paid, sliced, printed, post-processed and shipped, on a farm that comes and goes with it."""

import asyncio
import contextlib
import shutil
import signal
from dataclasses import dataclass

import httpx
from rich.console import Console

from farmd.cli.demo_farm import Farm, running_farm
from farmd.cli.demo_story import Story, WentWrong
from farmd.cli.demo_view import View
from farmd.config import SlicerSettings

LOOK_SECONDS = 0.3
NO_SLICER = "PrusaSlicer is missing, so nothing can be sliced: apt-get install prusa-slicer (or run `make setup`)"


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the demo was asked for. `patience`: seconds until `once` gives up."""

    once: bool
    port: int
    speed: float
    printers: int
    patience: float


def play(wishes: Wishes) -> int:
    """Run the demo; 0 when the order was shipped or a person ended it, 1 with the reason on stderr otherwise."""
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_play(wishes))
    return 130


async def _play(wishes: Wishes) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console = Console()
    slicer = shutil.which(SlicerSettings().command) is not None
    if not slicer:
        Console(stderr=True).print(f"farmd demo: {NO_SLICER}", soft_wrap=True, highlight=False)
        if wishes.once:
            return 1
    console.print(
        f"starting {wishes.printers} virtual OctoPrints, a Bambu Lab P1S, a serial printer and the daemon ...", highlight=False
    )
    async with running_farm(wishes.printers, wishes.speed, wishes.port) as farm:
        reason = await _tell_story(farm, wishes, console, stop)
        if reason is not None:
            Console(stderr=True).print(f"farmd demo: {reason}", soft_wrap=True, highlight=False, markup=False)
        if not wishes.once and not stop.is_set():
            console.print(_leave(farm), highlight=False, soft_wrap=True)
            await stop.wait()
    return 0 if reason is None else 1


async def _tell_story(farm: Farm, wishes: Wishes, console: Console, stop: asyncio.Event) -> str | None:
    """Follow the order to its end; the reason when it did not get there."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wishes.patience if wishes.once else float("inf")
    async with httpx.AsyncClient(base_url=farm.url, headers={"X-API-Key": farm.admin_key}, timeout=60, trust_env=False) as client:
        view = View(console, f"farmd at {farm.url}, prints {wishes.speed:g} times as fast as life")
        story = Story(client, view.tell)
        with view.shown():
            try:
                await story.begin()
                while not await _step(story, view):
                    if stop.is_set():
                        return None if not wishes.once else f"ended by a signal; {await story.where_it_stands()}"
                    if loop.time() > deadline:
                        return f"not shipped after {wishes.patience:.0f} s; {await story.where_it_stands()}"
                    await _pause(stop)
            except WentWrong as error:
                return str(error) if farm.daemon.returncode is None else f"the daemon died: {farm.last_words()}"
    console.print(f"{story.order['id']} is shipped", style="bold green", highlight=False)
    return None


async def _step(story: Story, view: View) -> bool:
    await story.look()
    shipped = await story.act()
    view.draw(story.order, story.jobs, story.printers)
    return shipped


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), LOOK_SECONDS)


def _leave(farm: Farm) -> str:
    return f"""
the farm runs on until Ctrl-C:
  dashboard   {farm.url}/         (log in with the operator's key)
  API         {farm.url}/docs
  admin       export FARMD_URL={farm.url} FARMD_API_KEY={farm.admin_key}
  operator    {farm.operator_key}
  then        farmd orders list
"""
