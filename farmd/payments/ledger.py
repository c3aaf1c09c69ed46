"""The books of an order's money: what the provider showed is written down, and whatever is still missing becomes a request.

`book` and `settle` are idempotent and run in the caller's transaction; they may be called at any time, as often as anybody likes.
Nothing here asks the provider, and nothing but this file says that an order under a provider is paid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from farmd.config import Settings, StripeSettings
from farmd.domain.lifecycle import JOB_BEFORE_QUEUE, JobState
from farmd.domain.till import (
    CheckoutState,
    Missing,
    OrderMoney,
    RefundSeen,
    RefundState,
    Sighting,
    Want,
    kept,
    missing,
)
from farmd.payments.complaints import complain
from farmd.payments.figures import checkout_facts, figures, refund_facts
from farmd.payments.stripe_bodies import refund_body, session_body, void_body
from farmd.store import till
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.refunds import lower, move_refund, refund_row, refunds_by_age
from farmd.store.rows import Row
from farmd.store.sales import fold_money, insert_refund, jobs_of, lines_with_names, record_cancellation, record_payment
from farmd.store.transitions import clear_attention

GONE = "given back elsewhere already"
AUTHORISATION = timedelta(days=7)
"""How long a bank keeps a promise where it does not say; cards and wallets differ, none is shorter by more than a day."""
SLACK = timedelta(hours=24)  # before the end of a promise
LONGEST_SESSION = timedelta(hours=23.9)
"""Stripe takes 24 hours by its own clock; ours may be some minutes ahead."""
WORTH_LOOKING = timedelta(days=120)
DISPUTED_PAUSE = 3600.0
BELIEVED = 10
"""Refusals for a dispute of which no look shows anything any more, after which a person is asked; some quarter of an hour."""
_NOT_READY = JOB_BEFORE_QUEUE | {JobState.FAILED}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the provider will never carry out as it was asked."""

    call_id: str
    why: str
    disputed: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """The farm's way of keeping them."""

    settings: Settings
    stripe: StripeSettings

    @property
    def success_url(self) -> str:
        """Where a customer comes back to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)  # noqa: S104 - shown, not bound
        where = f"[{host}]" if ":" in host else host
        own = f"http://{where}:{self.settings.port}/checkout/success?session_id={{CHECKOUT_SESSION_ID}}"
        return self.stripe.success_url or own

    # what was seen

    def book(self, tx: Tx, checkout_id: str, seen: Sighting, refusal: Refusal | None = None) -> None:
        """Write down what a checkout looks like now, after `refusal` where that was the reason to look, and all that follows."""
        checkout = till.checkout_row(tx.connection, checkout_id)
        state = seen.state
        money = state in (CheckoutState.PAID, CheckoutState.AUTHORIZED, CheckoutState.PROCESSING)
        same = (seen.total, seen.currency) == (checkout["total"], checkout["currency"]) and seen.order_id == checkout["order_id"]
        whole = state is not CheckoutState.PAID or seen.captured == checkout["total"]
        lapses = checkout["capture_before"] or (tx.world.now() + AUTHORISATION if state is CheckoutState.AUTHORIZED else None)
        till.change_checkout(
            tx,
            checkout,
            state=state.value,
            agrees=(same and whole) or not money,
            session_id=seen.session_id,
            url=seen.url or checkout["url"],
            expires_at=seen.expires_at or checkout["expires_at"],
            intent_id=seen.intent_id or checkout["intent_id"],
            authorized=seen.authorized,
            captured=max(seen.captured, checkout["captured"]),
            capture_before=seen.capture_before or lapses,
            charged_back=seen.charged_back,
            disputed=seen.disputed,
        )
        if checkout["disputed"] and not seen.disputed:
            till.hurry(tx, checkout_id)
        waits = refusal is not None and refusal.disputed and seen.disputed
        if refusal is not None:
            # that a dispute is open says nothing of the refund itself, and does not count against it
            till.close_call(tx, till.call_row(tx.connection, refusal.call_id), "DROPPED" if waits else "REFUSED", refusal.why)
        self._book_refunds(tx, checkout_id, seen.refunds)
        if refusal is not None:
            self._refused(tx, refusal, waits=waits)
        self.settle(tx, checkout["order_id"])

    def book_refund(self, tx: Tx, checkout_id: str, seen: RefundSeen) -> None:
        """Write down the answer to a refund."""
        self._book_refunds(tx, checkout_id, [seen])
        self.settle(tx, till.checkout_row(tx.connection, checkout_id)["order_id"])

    def next_look(self, tx: Tx, checkout_id: str) -> datetime | None:
        """When a checkout is worth another look although nobody tells of it; None when nothing can happen to it any more."""
        checkout = till.checkout_row(tx.connection, checkout_id)
        order = order_row(tx.connection, checkout["order_id"])
        refunds = refunds_by_age(tx.connection, order["id"])
        moving = any(row["checkout_id"] == checkout_id and row["state"] == RefundState.PENDING for row in refunds)
        now, sweep = tx.world.now(), timedelta(seconds=self.stripe.sweep_seconds)
        match CheckoutState(checkout["state"]):
            case CheckoutState.OPEN:  # before its end the sweep looks after it, together with all the others
                end: datetime = checkout["expires_at"]
                return max(end + timedelta(seconds=5), now + sweep)
            case CheckoutState.PROCESSING | CheckoutState.AUTHORIZED:
                return now + sweep
            case CheckoutState.PAID if moving or checkout["disputed"]:
                return now + sweep
            case CheckoutState.PAID if order["shipped_at"] is None and order["refunded"] < order["captured"]:
                recent = now - checkout["created_at"] < WORTH_LOOKING
                return now + max(sweep * 12, timedelta(hours=1)) if recent else None
        return None

    def _book_refunds(self, tx: Tx, checkout_id: str, seen: Sequence[RefundSeen]) -> None:
        checkout = till.checkout_row(tx.connection, checkout_id)
        for refund in seen:
            rows = [row for row in refunds_by_age(tx.connection, checkout["order_id"]) if row["checkout_id"] == checkout_id]
            known = next((row for row in rows if row["provider_id"] == refund.id), None)
            row = known or next((row for row in rows if row["id"] == refund.ours and row["provider_id"] is None), None)
            if row is None:
                self._book_foreign(tx, checkout, refund)
            elif (row["state"], row["provider_id"], row["amount"]) != (refund.state, refund.id, refund.amount):
                move_refund(tx, row, refund.state, provider_id=refund.id, amount=refund.amount, failure=refund.why)
        self._cut(tx, checkout_id)

    def _book_foreign(self, tx: Tx, checkout: Row, refund: RefundSeen) -> None:
        order = order_row(tx.connection, checkout["order_id"])
        reason = "made at the payment provider"
        row = insert_refund(
            tx, order, refund.amount, cause="provider", reason=reason, checkout_id=checkout["id"], provider_id=refund.id
        )
        move_refund(tx, refund_row(tx.connection, row), refund.state, failure=refund.why)

    def _cut(self, tx: Tx, checkout_id: str) -> None:
        """Somebody else gave money back: what we want to give back, and certainly did not yet, cannot be more than is left."""
        checkout = till.checkout_row(tx.connection, checkout_id)
        rows = [row for row in refunds_by_age(tx.connection, checkout["order_id"]) if row["checkout_id"] == checkout_id]
        going = sum(row["amount"] for row in rows if row["state"] != RefundState.FAILED)
        too_much = going - (checkout["captured"] - checkout["charged_back"])
        calls = {call["refund_id"]: call for call in till.wanted_calls(tx.connection, checkout["order_id"])}
        for row in reversed(rows):
            call = calls.get(row["id"])
            in_doubt = call is not None and call["sent_at"] is not None
            if too_much <= 0 or row["state"] != RefundState.PENDING or row["provider_id"] or in_doubt:
                continue
            cut = min(row["amount"], too_much)
            too_much -= cut
            if call is not None:
                till.close_call(tx, call, "DROPPED", GONE)
            lower(tx, row, row["amount"] - cut)
            if cut == row["amount"]:
                move_refund(tx, refund_row(tx.connection, row["id"]), RefundState.SUCCEEDED, failure=GONE)

    def _refused(self, tx: Tx, refusal: Refusal, *, waits: bool) -> None:
        """What becomes of a refund that was refused: nothing while a dispute is open, less where somebody else gave back a part."""
        call = till.call_row(tx.connection, refusal.call_id)
        if call["kind"] != Want.REFUND:
            return  # if it is still wanted, it is asked for again, later each time
        refund = refund_row(tx.connection, call["refund_id"])
        if refund["state"] != RefundState.PENDING or refund["provider_id"] is not None:
            return
        checkout = till.checkout_row(tx.connection, call["checkout_id"])
        if waits:
            body = refund_body(refund, checkout["intent_id"])
            till.add_call(tx, Want.REFUND, checkout, body, refund["id"], wait=DISPUTED_PAUSE)
            return
        # a dispute that was won since it was refused is no reason any more, a lost one is one for ever
        won = refusal.disputed and not checkout["charged_back"]
        if won and till.refused_before(tx.connection, call["purpose"]) < BELIEVED:
            return
        if refund["amount"] == call["body"]["amount"]:
            move_refund(tx, refund, RefundState.FAILED, failure=refusal.why)

    # what follows

    def settle(self, tx: Tx, order_id: str) -> None:
        """Bring an order in line with its checkouts and refunds, and want whatever is missing."""
        if self._paid_by_hand(tx, order_id):
            return
        self._accept(tx, order_id)
        self._fold(tx, order_id)
        order = order_row(tx.connection, order_id)
        self._drop(tx, order, till.checkouts_of(tx.connection, order_id))
        wanted = missing(self._money(tx, order, till.checkouts_of(tx.connection, order_id)))
        for each in wanted:
            self._want(tx, order, each)
        if any(each.want is Want.REFUND for each in wanted):
            self._fold(tx, order_id)
        complain(tx, order_row(tx.connection, order_id), till.checkouts_of(tx.connection, order_id))

    def _paid_by_hand(self, tx: Tx, order_id: str) -> bool:
        """Whether an operator took this order's money before there was a provider; its sums are not ours to derive."""
        order = order_row(tx.connection, order_id)
        return order["paid_at"] is not None and order["paid_by"] is None

    def _accept(self, tx: Tx, order_id: str) -> None:
        """The first checkout that holds what was asked for pays the order."""
        order = order_row(tx.connection, order_id)
        checkouts = till.checkouts_of(tx.connection, order_id)
        payer = next((row for row in checkouts if row["id"] == order["paid_by"]), None)
        if order["cancelled_at"] is None and payer is not None and payer["state"] == CheckoutState.VOIDED and not order["captured"]:
            record_cancellation(tx, order, "the authorisation of the payment lapsed or was taken back", self.settle)
            return
        if order["paid_at"] is not None or order["cancelled_at"] is not None:
            return
        for row in checkouts:
            if row["state"] in (CheckoutState.PAID, CheckoutState.AUTHORIZED) and row["agrees"]:
                money = figures(tx, dict(order) | {"paid_by": row["id"]}, checkouts) | {"paid_by": row["id"]}
                record_payment(tx, order, row["intent_id"] or row["session_id"], **money)
                return

    def _fold(self, tx: Tx, order_id: str) -> None:
        order = order_row(tx.connection, order_id)
        fold_money(tx, order_id, **figures(tx, order, till.checkouts_of(tx.connection, order_id)))
        if order["hold"] != order_row(tx.connection, order_id)["hold"]:
            tx.wake("jobs")  # a hold that fell away lets plates start

    def _money(self, tx: Tx, order: Row, checkouts: Sequence[Row]) -> OrderMoney:
        calls = till.wanted_calls(tx.connection, order["id"])
        asked = {call["checkout_id"] for call in calls if call["kind"] == Want.OPEN and call["sent_at"] is not None}
        refunds = refunds_by_age(tx.connection, order["id"])
        return OrderMoney(
            cancelled=order["cancelled_at"] is not None,
            paid_by=order["paid_by"],
            capture_now=self._capture_now(tx, order, checkouts),
            checkouts=tuple(checkout_facts(row, asked=row["id"] in asked) for row in checkouts),
            refunds=tuple(refund_facts(row) for row in refunds),
        )

    def _capture_now(self, tx: Tx, order: Row, checkouts: Sequence[Row]) -> bool:
        if order["hold"] != "capture":
            return False
        states = [JobState(job["state"]) for job in jobs_of(tx.connection, order["id"])]
        living = [state for state in states if state is not JobState.CANCELLED]
        if living and not any(state in _NOT_READY for state in living):
            return True
        return self.stripe.on_deadline == "capture" and self.deadline_passed(checkouts, tx.world.now())

    def deadline_passed(self, checkouts: Sequence[Row], now: datetime) -> bool:
        """Whether an authorisation is about to lapse."""
        ends = [row["capture_before"] for row in checkouts if row["state"] == CheckoutState.AUTHORIZED and row["capture_before"]]
        return any(end - SLACK <= now for end in ends)

    def _drop(self, tx: Tx, order: Row, checkouts: Sequence[Row]) -> None:
        """Forget what was wanted, never left, and is not wanted any more."""
        calls = till.wanted_calls(tx.connection, order["id"])
        states = {row["id"]: CheckoutState(row["state"]) for row in checkouts}
        unwanted = order["cancelled_at"] is not None or order["paid_at"] is not None
        for call in calls:
            state = states[call["checkout_id"]]
            if call["kind"] == Want.OPEN and state is CheckoutState.WANTED:
                if unwanted and call["sent_at"] is None:
                    till.close_call(tx, call, "DROPPED", "not wanted any more")
                    checkout = till.checkout_row(tx.connection, call["checkout_id"])
                    till.change_checkout(tx, checkout, state=CheckoutState.EXPIRED.value)
            elif call["kind"] == Want.CAPTURE and order["cancelled_at"] is not None and call["sent_at"] is None:
                till.close_call(tx, call, "DROPPED", "the order was cancelled")
            elif call["kind"] == Want.REFUND:
                refund = refund_row(tx.connection, call["refund_id"])
                if refund["provider_id"] is not None:
                    till.close_call(tx, call, "DONE", "its answer was lost, and it was found")
                elif refund["state"] != RefundState.PENDING:
                    till.close_call(tx, call, "DROPPED", f"the refund is {refund['state'].lower()}")
            elif _pointless(Want(call["kind"]), state):
                till.close_call(tx, call, "DROPPED", f"the checkout is {state.value.lower()}")

    def _want(self, tx: Tx, order: Row, wanted: Missing) -> None:
        checkout = till.checkout_row(tx.connection, wanted.checkout_id)
        match wanted.want:
            case Want.OPEN:
                lines = lines_with_names(tx.connection, order["id"])
                body = session_body(order, lines, checkout["id"], checkout["expires_at"], self.stripe, self.success_url)
                till.add_call(tx, Want.OPEN, checkout, body)
            case Want.EXPIRE | Want.CAPTURE:
                till.add_call(tx, wanted.want, checkout, {})
            case Want.VOID:
                till.add_call(tx, Want.VOID, checkout, void_body())
            case Want.REFUND:
                refund_id = wanted.refund_id or insert_refund(
                    tx,
                    order,
                    wanted.amount,
                    cause=wanted.cause,
                    reason=order["cancel_reason"] or "this order was paid twice",
                    checkout_id=checkout["id"],
                )
                body = refund_body(refund_row(tx.connection, refund_id), checkout["intent_id"])
                till.add_call(tx, Want.REFUND, checkout, body, refund_id)

    def open_checkout(self, tx: Tx, order: Row) -> None:
        """Want a new place to pay."""
        lasts = min(timedelta(hours=self.stripe.session_hours), LONGEST_SESSION)
        till.new_checkout(tx, order, tx.world.now() + lasts)
        clear_attention(tx, order["id"], "checkout_failed")
        self.settle(tx, order["id"])

    def keepable(self, tx: Tx, order: Row, checkout: Row) -> int:
        """What of a checkout's money could still be given back."""
        refunds = [refund_facts(row) for row in refunds_by_age(tx.connection, order["id"])]
        return kept(checkout_facts(checkout), refunds)


def _pointless(want: Want, state: CheckoutState) -> bool:
    needed = {Want.EXPIRE: CheckoutState.OPEN, Want.CAPTURE: CheckoutState.AUTHORIZED, Want.VOID: CheckoutState.AUTHORIZED}
    return want is Want.OPEN or (want in needed and state is not needed[want])
