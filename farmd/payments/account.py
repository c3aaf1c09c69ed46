"""All rows that an order's money is made of, read once in a transaction and kept up by whoever changes one through here.

Whoever changes such a row past an account must not go on with that account: its next change of it raises `Conflict`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from farmd.domain.till import RefundState, Want
from farmd.store import till
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.refunds import move_refund, refunds_by_age
from farmd.store.rows import Row
from farmd.store.sales import fold_money, insert_refund, record_payment


class Account:
    """An order, its checkouts (oldest first), its refunds (oldest first) and what is still to be asked about it."""

    def __init__(self, tx: Tx, order: Row) -> None:
        self.tx, self.order = tx, order
        self._read()

    @classmethod
    def of(cls, tx: Tx, order_id: str) -> "Account":
        """The account of an order by its id. Raises `Missing`."""
        return cls(tx, order_row(tx.connection, order_id))

    def reread(self) -> None:
        """Somebody else wrote meanwhile, in this very transaction."""
        self.order = order_row(self.tx.connection, self.order["id"])
        self._read()

    def _read(self) -> None:
        connection, order_id = self.tx.connection, self.order["id"]
        self.checkouts = list(till.checkouts_of(connection, order_id))
        self.refunds = list(refunds_by_age(connection, order_id))
        self.calls = list(till.wanted_calls(connection, order_id))

    def checkout(self, checkout_id: str) -> Row:
        """One of its checkouts."""
        return next(row for row in self.checkouts if row["id"] == checkout_id)

    def refund(self, refund_id: str) -> Row:
        """One of its refunds."""
        return next(row for row in self.refunds if row["id"] == refund_id)

    def refunds_of(self, checkout_id: str) -> list[Row]:
        """The refunds of one checkout's money, oldest first."""
        return [row for row in self.refunds if row["checkout_id"] == checkout_id]

    # changes

    def pay(self, reference: str | None, **money: Any) -> None:
        """See `record_payment`."""
        self.order = record_payment(self.tx, self.order, reference, **money)

    def fold(self, **money: Any) -> None:
        """See `fold_money`."""
        self.order = fold_money(self.tx, self.order, **money)

    def add_checkout(self, expires_at: datetime) -> None:
        """A place to pay that is still to be opened."""
        self.checkouts.append(till.new_checkout(self.tx, self.order, expires_at))

    def change_checkout(self, checkout_id: str, **values: Any) -> None:
        """Write what is new of a checkout, if anything is."""
        place = next(place for place, row in enumerate(self.checkouts) if row["id"] == checkout_id)
        self.checkouts[place] = till.change_checkout(self.tx, self.checkouts[place], **values)

    def add_refund(self, amount: int, **known: Any) -> Row:
        """A refund that is wanted; the money has not moved yet."""
        refund_id = insert_refund(self.tx, self.order, amount, **known)
        self.refunds = list(refunds_by_age(self.tx.connection, self.order["id"]))
        return self.refund(refund_id)

    def move_refund(self, refund: Row, state: RefundState, **known: Any) -> None:
        """What became of a refund, and what else is known of it."""
        moved = move_refund(self.tx, refund, state, **known)
        self.refunds = [moved if row["id"] == moved["id"] else row for row in self.refunds]

    def add_call(
        self, kind: Want, checkout: Row, body: Mapping[str, Any], refund_id: str | None = None, *, wait: float = 0.0
    ) -> None:
        """See `add_call`."""
        call = till.add_call(self.tx, kind, checkout, body, refund_id, wait=wait)
        if call is not None:
            self.calls.append(call)

    def close_call(self, call: Row, state: str, error: str | None = None) -> None:
        """DONE, REFUSED, or DROPPED because it is not wanted any more."""
        till.close_call(self.tx, call, state, error)
        self.calls = [row for row in self.calls if row["id"] != call["id"]]
