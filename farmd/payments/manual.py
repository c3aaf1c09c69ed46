"""Money that moves outside farmd: cash, a bank transfer, a shop's own checkout. An operator's word is the proof.

What an operator states has already happened, so it is recorded and settled in one transaction. Nothing here ever asks anybody.
"""

from farmd.domain.lifecycle import PaymentStatus
from farmd.domain.money import to_text
from farmd.domain.refusals import NotNow
from farmd.domain.till import MoneyFacts, RefundState, payment_status
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.refunds import lower, move_refund, owed, refund_row, refunds_by_age
from farmd.store.rows import Row
from farmd.store.sales import fold_money, insert_refund, record_payment
from farmd.store.transitions import keep_attention, raise_attention


class ManualPayments:
    """See `farmd.payments.provider.Provider`."""

    name = "manual"

    def expect(self, _tx: Tx, _order: Row, /) -> None:
        """An operator will say when the money is there."""

    def open_checkout(self, _tx: Tx, order: Row, /) -> None:
        """Raises `NotNow`: there is no checkout without a payment provider."""
        detail = (
            f"this farm takes payments by hand: collect the money, then POST /api/orders/{order['id']}/pay; "
            'for a checkout page set [payments] provider = "stripe"'
        )
        raise NotNow("no_checkout", detail)

    def accept(self, tx: Tx, order: Row, /, reference: str | None) -> None:
        """The order is paid in full. Raises `NotNow` when it is paid already or was cancelled."""
        if order["paid_at"] is not None:
            raise NotNow("already_paid", f"order {order['id']} is paid already")
        if order["cancelled_at"] is not None:
            raise NotNow("order_cancelled", f"order {order['id']} was cancelled; give the money back or place a new order")
        record_payment(tx, order, reference, captured=order["total"], payment_status=PaymentStatus.PAID.value)

    def take_back(self, tx: Tx, order_id: str, /) -> None:
        """A person has to give back what was paid."""
        order = order_row(tx.connection, order_id)
        left = order["captured"] - order["refunded"]
        if left > 0:
            insert_refund(tx, order, left, cause="cancellation", reason=order["cancel_reason"], state=RefundState.OWED)
            self._fold(tx, order_id)
            self._remind(tx, order, left, "are")

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
        by_hand: bool = True,
    ) -> str:
        """The money was handed back. What a cancellation still owes is settled first."""
        del by_hand  # there is no other way
        debt = owed(tx.connection, order["id"])
        if debt is not None and amount >= debt["amount"]:
            refund_id = str(debt["id"])
        else:
            refund_id = insert_refund(
                tx, order, amount, cause="request", reason=reason, line_item_id=line_item_id, quantity=quantity
            )
            if debt is not None:
                lower(tx, debt, debt["amount"] - amount)
                self._remind(tx, order, debt["amount"] - amount, "are still")
        move_refund(tx, refund_row(tx.connection, refund_id), RefundState.SUCCEEDED)
        self._fold(tx, order["id"])
        return refund_id

    def _remind(self, tx: Tx, order: Row, left: int, verb: str) -> None:
        text = f"{to_text(left, order['currency'])} {order['currency']}"
        raise_attention(tx, order["id"], "refund_due", f"{text} {verb} to be given back by hand; record it as a refund when done")

    def _fold(self, tx: Tx, order_id: str) -> None:
        """Let the order say what its refunds add up to."""
        rows = refunds_by_age(tx.connection, order_id)
        refunded = sum(row["amount"] for row in rows if row["state"] == RefundState.SUCCEEDED)
        debt = sum(row["amount"] for row in rows if row["state"] == RefundState.OWED)
        order = order_row(tx.connection, order_id)
        status = payment_status(MoneyFacts(paid=True, captured=order["captured"], refunded=refunded, owed=debt))
        if refunded >= order["captured"]:
            order = keep_attention(tx, order, "refund_due", None)
        fold_money(tx, order, refunded=refunded, payment_status=status.value)

    async def opened(self, _order_id: str, _patience: float, /) -> bool:
        """There is nothing to wait for."""
        return False
