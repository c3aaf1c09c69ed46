"""Whose money is it? A farm that changes its provider still has orders of the other one, and each keeps to whom it was paid.

New orders go to the configured provider. What was paid by hand is given back by hand, what was paid at a checkout by Stripe.
"""

from typing import Literal

from farmd.payments.manual import ManualPayments
from farmd.payments.stripe_provider import StripePayments
from farmd.store import till
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.rows import Row


class ByOrder:
    """See `farmd.payments.provider.Provider`."""

    def __init__(self, name: Literal["manual", "stripe"], manual: ManualPayments, stripe: StripePayments) -> None:
        self.name = name
        self._manual, self._stripe = manual, stripe

    @property
    def _new(self) -> ManualPayments | StripePayments:
        return self._stripe if self.name == "stripe" else self._manual

    def _of(self, tx: Tx, order: Row) -> ManualPayments | StripePayments:
        if order["paid_at"] is not None and order["paid_by"] is None:
            return self._manual
        return self._stripe if till.checkouts_of(tx.connection, order["id"]) else self._new

    def expect(self, tx: Tx, order: Row, /) -> None:
        self._new.expect(tx, order)

    def open_checkout(self, tx: Tx, order: Row, /) -> None:
        self._new.open_checkout(tx, order)

    def accept(self, tx: Tx, order: Row, /, reference: str | None) -> None:
        self._new.accept(tx, order, reference)

    def take_back(self, tx: Tx, order_id: str, /) -> None:
        self._of(tx, order_row(tx.connection, order_id)).take_back(tx, order_id)

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
        who = self._of(tx, order)
        return who.refund(
            tx, order, amount, reason=reason, line_item_id=line_item_id, quantity=quantity, by_hand=by_hand or who is self._manual
        )

    async def opened(self, order_id: str, patience: float, /) -> bool:
        return await self._new.opened(order_id, patience)
