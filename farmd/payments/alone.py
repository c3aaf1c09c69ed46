"""A round over many orders in which the trouble of one is not the trouble of the others."""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from farmd.store.engine import Store, StoreFailed, Tx

log = structlog.get_logger()


async def each_alone(store: Store, order_ids: Sequence[str], work: Callable[[Tx, str], object]) -> int:
    """Do `work(tx, order_id)` for every order, each in its own transaction; returns how many went well. Raises `StoreFailed`."""
    done = 0
    for order_id in order_ids:
        try:
            await store.write(partial(_one, work=work, order_id=order_id))
            done += 1
        except StoreFailed:
            raise
        except Exception:  # the supervised edge: an order whose rows contradict each other must not stop the round
            log.exception("round.order_broke", order=order_id)
    return done


def _one(tx: Tx, work: Callable[[Tx, str], object], order_id: str) -> None:
    work(tx, order_id)
