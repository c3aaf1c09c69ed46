"""The port to whoever holds the money.

A provider only writes rows, in the caller's transaction: what it wants of the outside is an intent, carried out later by its own
worker. So a command is answered at once, and a crash between wish and deed loses neither.
"""

from typing import Protocol

from farmd.store.engine import Tx
from farmd.store.rows import Row


class Provider(Protocol):
    """How orders are paid and money is given back. Every method raises `NotNow` where this provider works another way."""

    @property
    def name(self) -> str:
        """The word in `[payments] provider`."""

    def expect(self, tx: Tx, order: Row, /) -> None:
        """A new order was written in this transaction; its payment is expected from now on."""

    def open_checkout(self, tx: Tx, order: Row, /) -> None:
        """Want a (new) place where the customer can pay."""

    def accept(self, tx: Tx, order: Row, /, reference: str | None) -> None:
        """An operator says that the whole amount has arrived."""

    def take_back(self, tx: Tx, order_id: str, /) -> None:
        """The order was cancelled in this transaction: write down what becomes of its money. Must not announce it."""

    def refund(
        self,
        tx: Tx,
        order: Row,
        /,
        amount: int,
        *,
        reason: str | None,
        line_item_id: str | None = None,
        quantity: int | None = None,
        by_hand: bool = False,
    ) -> str:
        """Give `amount` minor units back, or write down that it was given back `by_hand`; returns the refund's id. The caller has
        checked that so much is there to give."""

    async def opened(self, order_id: str, patience: float, /) -> bool:
        """Wait until the place to pay was asked for, at most `patience` seconds; whether the order may look otherwise now."""
