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
from farmd.payments.account import Account
from farmd.payments.complaints import complain
from farmd.payments.figures import checkout_facts, figures, refund_facts
from farmd.payments.stripe_bodies import refund_body, session_body, void_body
from farmd.store import till
from farmd.store.engine import Tx
from farmd.store.rows import Row
from farmd.store.sales import jobs_of, lines_with_names, record_cancellation
from farmd.store.transitions import keep_attention

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

    def book(self, account: Account, checkout_id: str, seen: Sighting, refusal: Refusal | None = None) -> None:
        """Write down what a checkout looks like now, after `refusal` where that was the reason to look, and all that follows."""
        tx, checkout = account.tx, account.checkout(checkout_id)
        state = seen.state
        money = state in (CheckoutState.PAID, CheckoutState.AUTHORIZED, CheckoutState.PROCESSING)
        same = (seen.total, seen.currency) == (checkout["total"], checkout["currency"]) and seen.order_id == checkout["order_id"]
        whole = state is not CheckoutState.PAID or seen.captured == checkout["total"]
        lapses = checkout["capture_before"] or (tx.world.now() + AUTHORISATION if state is CheckoutState.AUTHORIZED else None)
        account.change_checkout(
            checkout_id,
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
            account.reread()
        waits = refusal is not None and refusal.disputed and seen.disputed
        if refusal is not None:
            # that a dispute is open says nothing of the refund itself, and does not count against it
            call = till.call_row(tx.connection, refusal.call_id)
            account.close_call(call, "DROPPED" if waits else "REFUSED", refusal.why)
        self._book_refunds(account, checkout_id, seen.refunds)
        if refusal is not None:
            self._refused(account, refusal, waits=waits)
        self._settle(account)

    def book_refund(self, account: Account, checkout_id: str, seen: RefundSeen) -> None:
        """Write down the answer to a refund."""
        self._book_refunds(account, checkout_id, [seen])
        self._settle(account)

    def next_look(self, account: Account, checkout_id: str) -> datetime | None:
        """When a checkout is worth another look although nobody tells of it; None when nothing can happen to it any more."""
        order, checkout = account.order, account.checkout(checkout_id)
        moving = any(row["state"] == RefundState.PENDING for row in account.refunds_of(checkout_id))
        now, sweep = account.tx.world.now(), timedelta(seconds=self.stripe.sweep_seconds)
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

    def _book_refunds(self, account: Account, checkout_id: str, seen: Sequence[RefundSeen]) -> None:
        for refund in seen:
            rows = account.refunds_of(checkout_id)
            known = next((row for row in rows if row["provider_id"] == refund.id), None)
            row = known or next((row for row in rows if row["id"] == refund.ours and row["provider_id"] is None), None)
            if row is None:
                self._book_foreign(account, checkout_id, refund)
            elif (row["state"], row["provider_id"], row["amount"]) != (refund.state, refund.id, refund.amount):
                account.move_refund(row, refund.state, provider_id=refund.id, amount=refund.amount, failure=refund.why)
        self._cut(account, checkout_id)

    def _book_foreign(self, account: Account, checkout_id: str, refund: RefundSeen) -> None:
        reason = "made at the payment provider"
        row = account.add_refund(refund.amount, cause="provider", reason=reason, checkout_id=checkout_id, provider_id=refund.id)
        account.move_refund(row, refund.state, failure=refund.why)

    def _cut(self, account: Account, checkout_id: str) -> None:
        """Somebody else gave money back: what we want to give back, and certainly did not yet, cannot be more than is left."""
        checkout, rows = account.checkout(checkout_id), account.refunds_of(checkout_id)
        going = sum(row["amount"] for row in rows if row["state"] != RefundState.FAILED)
        too_much = going - (checkout["captured"] - checkout["charged_back"])
        calls = {call["refund_id"]: call for call in account.calls}
        for row in reversed(rows):
            call = calls.get(row["id"])
            in_doubt = call is not None and call["sent_at"] is not None
            if too_much <= 0 or row["state"] != RefundState.PENDING or row["provider_id"] or in_doubt:
                continue
            cut = min(row["amount"], too_much)
            too_much -= cut
            if call is not None:
                account.close_call(call, "DROPPED", GONE)
            state = RefundState.SUCCEEDED if cut == row["amount"] else RefundState.PENDING
            account.move_refund(row, state, amount=row["amount"] - cut, **({"failure": GONE} if cut == row["amount"] else {}))

    def _refused(self, account: Account, refusal: Refusal, *, waits: bool) -> None:
        """What becomes of a refund that was refused: nothing while a dispute is open, less where somebody else gave back a part."""
        call = till.call_row(account.tx.connection, refusal.call_id)
        if call["kind"] != Want.REFUND:
            return  # if it is still wanted, it is asked for again, later each time
        refund = account.refund(call["refund_id"])
        if refund["state"] != RefundState.PENDING or refund["provider_id"] is not None:
            return
        checkout = account.checkout(call["checkout_id"])
        if waits:
            body = refund_body(refund, checkout["intent_id"])
            account.add_call(Want.REFUND, checkout, body, refund["id"], wait=DISPUTED_PAUSE)
            return
        # a dispute that was won since it was refused is no reason any more, a lost one is one for ever
        won = refusal.disputed and not checkout["charged_back"]
        if won and till.refused_before(account.tx.connection, call["purpose"]) < BELIEVED:
            return
        if refund["amount"] == call["body"]["amount"]:
            account.move_refund(refund, RefundState.FAILED, failure=refusal.why)

    # what follows

    def settle(self, tx: Tx, order_id: str) -> None:
        """Bring an order in line with its checkouts and refunds, and want whatever is missing."""
        self._settle(Account.of(tx, order_id))

    def _settle(self, account: Account) -> None:
        if account.order["paid_at"] is not None and account.order["paid_by"] is None:
            return  # an operator took its money before there was a provider; its sums are not ours to derive
        self._accept(account)
        self._fold(account)
        self._drop(account)
        wanted = missing(self._money(account))
        for each in wanted:
            self._want(account, each)
        if any(each.want is Want.REFUND for each in wanted):
            self._fold(account)
        complain(account)

    def _accept(self, account: Account) -> None:
        """The first checkout that holds what was asked for pays the order."""
        tx, order, checkouts = account.tx, account.order, account.checkouts
        payer = next((row for row in checkouts if row["id"] == order["paid_by"]), None)
        if order["cancelled_at"] is None and payer is not None and payer["state"] == CheckoutState.VOIDED and not order["captured"]:
            record_cancellation(tx, order, "the authorisation of the payment lapsed or was taken back", self.settle)
            account.reread()
            return
        if order["paid_at"] is not None or order["cancelled_at"] is not None:
            return
        for row in checkouts:
            if row["state"] in (CheckoutState.PAID, CheckoutState.AUTHORIZED) and row["agrees"]:
                paid_by = {"paid_by": row["id"]}
                money = figures(dict(order) | paid_by, checkouts, account.refunds) | paid_by
                account.pay(row["intent_id"] or row["session_id"], **money)
                return

    def _fold(self, account: Account) -> None:
        held = account.order["hold"]
        account.fold(**figures(account.order, account.checkouts, account.refunds))
        if held != account.order["hold"]:
            account.tx.wake("jobs")  # a hold that fell away lets plates start

    def _money(self, account: Account) -> OrderMoney:
        order, calls = account.order, account.calls
        asked = {call["checkout_id"] for call in calls if call["kind"] == Want.OPEN and call["sent_at"] is not None}
        return OrderMoney(
            cancelled=order["cancelled_at"] is not None,
            paid_by=order["paid_by"],
            capture_now=self._capture_now(account.tx, order, account.checkouts),
            checkouts=tuple(checkout_facts(row, asked=row["id"] in asked) for row in account.checkouts),
            refunds=tuple(refund_facts(row) for row in account.refunds),
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

    def _drop(self, account: Account) -> None:
        """Forget what was wanted, never left, and is not wanted any more."""
        order = account.order
        states = {row["id"]: CheckoutState(row["state"]) for row in account.checkouts}
        unwanted = order["cancelled_at"] is not None or order["paid_at"] is not None
        for call in list(account.calls):
            state = states[call["checkout_id"]]
            if call["kind"] == Want.OPEN and state is CheckoutState.WANTED:
                if unwanted and call["sent_at"] is None:
                    account.close_call(call, "DROPPED", "not wanted any more")
                    account.change_checkout(call["checkout_id"], state=CheckoutState.EXPIRED.value)
            elif call["kind"] == Want.CAPTURE and order["cancelled_at"] is not None and call["sent_at"] is None:
                account.close_call(call, "DROPPED", "the order was cancelled")
            elif call["kind"] == Want.REFUND:
                refund = account.refund(call["refund_id"])
                if refund["provider_id"] is not None:
                    account.close_call(call, "DONE", "its answer was lost, and it was found")
                elif refund["state"] != RefundState.PENDING:
                    account.close_call(call, "DROPPED", f"the refund is {refund['state'].lower()}")
            elif _pointless(Want(call["kind"]), state):
                account.close_call(call, "DROPPED", f"the checkout is {state.value.lower()}")

    def _want(self, account: Account, wanted: Missing) -> None:
        order, checkout = account.order, account.checkout(wanted.checkout_id)
        match wanted.want:
            case Want.OPEN:
                lines = lines_with_names(account.tx.connection, order["id"])
                body = session_body(order, lines, checkout["id"], checkout["expires_at"], self.stripe, self.success_url)
                account.add_call(Want.OPEN, checkout, body)
            case Want.EXPIRE | Want.CAPTURE:
                account.add_call(wanted.want, checkout, {})
            case Want.VOID:
                account.add_call(Want.VOID, checkout, void_body())
            case Want.REFUND:
                if wanted.refund_id is None:
                    reason = order["cancel_reason"] or "this order was paid twice"
                    refund = account.add_refund(wanted.amount, cause=wanted.cause, reason=reason, checkout_id=checkout["id"])
                else:
                    refund = account.refund(wanted.refund_id)
                account.add_call(Want.REFUND, checkout, refund_body(refund, checkout["intent_id"]), refund["id"])

    def open_checkout(self, tx: Tx, order: Row) -> None:
        """Want a new place to pay."""
        account = Account(tx, keep_attention(tx, order, "checkout_failed", None))
        account.add_checkout(tx.world.now() + min(timedelta(hours=self.stripe.session_hours), LONGEST_SESSION))
        self._settle(account)

    def keepable(self, account: Account, checkout: Row) -> int:
        """What of a checkout's money could still be given back."""
        return kept(checkout_facts(checkout), [refund_facts(row) for row in account.refunds])


def _pointless(want: Want, state: CheckoutState) -> bool:
    needed = {Want.EXPIRE: CheckoutState.OPEN, Want.CAPTURE: CheckoutState.AUTHORIZED, Want.VOID: CheckoutState.AUTHORIZED}
    return want is Want.OPEN or (want in needed and state is not needed[want])
