"""Money that moves outside farmd: cash, a bank transfer, a shop's own checkout. An operator's word is the proof.

What an operator states has already happened, so it is recorded and settled in one transaction. Nothing here ever asks anybody.
"""

from farmd.domain.money import to_text
from farmd.domain.refusals import NotNow
from farmd.store.engine import Tx
from farmd.store.refunds import lower, owed, refund_row
from farmd.store.rows import Row
from farmd.store.sales import insert_refund, record_payment, settle_refund
from farmd.store.transitions import raise_attention


class ManualPayments:
    """See `farmd.payments.provider.Provider`."""

    name = "manual"

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
        record_payment(tx, order, order["total"], reference)

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
    ) -> str:
        """The money was handed back. What a cancellation still owes is settled first."""
        debt = owed(tx.connection, order["id"])
        if debt is not None and amount >= debt["amount"]:
            settle_refund(tx, debt, succeeded=True)
            return str(debt["id"])
        if debt is not None:
            self._owe_less(tx, order, debt, amount)
        refund_id = insert_refund(tx, order, amount, cause="request", reason=reason, line_item_id=line_item_id, quantity=quantity)
        settle_refund(tx, refund_row(tx.connection, refund_id), succeeded=True)
        return refund_id

    def _owe_less(self, tx: Tx, order: Row, debt: Row, amount: int) -> None:
        left = debt["amount"] - amount
        lower(tx, debt, left)
        text = f"{to_text(left, order['currency'])} {order['currency']}"
        raise_attention(
            tx, order["id"], "refund_due", f"{text} are still to be given back by hand; record it as a refund when done"
        )
