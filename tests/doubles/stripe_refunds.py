"""Refunds and disputes: how money goes back. It must never give back more than was taken, nor anything twice."""

from tests.doubles.stripe_books import Books, Object
from tests.doubles.stripe_currencies import money
from tests.doubles.stripe_errors import bad_parameter, wrong_state

GIVEN = ("pending", "succeeded", "requires_action")  # what counts against the charge
ENDS = ("succeeded", "failed", "canceled")


def create(books: Books, params: Object) -> Object:
    charge = _charge(books, params)
    amount = params.get("amount")
    if amount is not None and amount < 1:
        raise bad_parameter("amount", "Invalid positive integer", "parameter_invalid_integer")
    if books.refunds_start_as not in GIVEN:
        raise ValueError(f"refunds do not start as {books.refunds_start_as}")
    left = left_of(books, charge)
    _must_be_refundable(books, charge, left)
    if amount is not None and amount > left:
        asked, rest = money(amount, charge["currency"]), money(left, charge["currency"])
        raise wrong_state(f"Refund amount ({asked}) is greater than unrefunded amount on charge ({rest})", param="amount")
    refund = books.add(
        "refund",
        id=books.number("re_3"),
        amount=left if amount is None else amount,
        charge=charge["id"],
        created=books.now(),
        currency=charge["currency"],
        metadata=params.get("metadata") or {},
        payment_intent=charge["payment_intent"],
        pending_reason="processing" if books.refunds_start_as == "pending" else None,
        reason=params.get("reason"),
        status=books.refunds_start_as,
    )
    count(books, charge)
    books.emit("refund.created", refund)
    books.emit("charge.refunded", charge)
    return refund


def _charge(books: Books, params: Object) -> Object:
    if "charge" in params:
        return books.find("charge", params["charge"], "charge")
    if "payment_intent" not in params:
        raise bad_parameter(
            "payment_intent", "One of the following params should be provided for this request: payment_intent or charge."
        )
    intent = books.find("payment_intent", params["payment_intent"], "payment_intent")
    if intent["latest_charge"] is None or intent["status"] != "succeeded":
        raise wrong_state(f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
    return books.find("charge", intent["latest_charge"])


def _must_be_refundable(books: Books, charge: Object, left: int) -> None:
    if not charge["captured"] or charge["status"] != "succeeded":
        raise wrong_state(f"Charge {charge['id']} has not been captured; it cannot be refunded.")
    if any(each["charge"] == charge["id"] and each["status"] != "won" for each in books.tables["dispute"].values()):
        raise wrong_state(f"Charge {charge['id']} has been charged back; cannot issue a refund.", "charge_disputed")
    if left <= 0:
        raise wrong_state(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")


def given_back(books: Books, charge: Object) -> int:
    refunds = books.tables["refund"].values()
    return sum(refund["amount"] for refund in refunds if refund["charge"] == charge["id"] and refund["status"] in GIVEN)


def left_of(books: Books, charge: Object) -> int:
    return charge["amount_captured"] - given_back(books, charge)


def count(books: Books, charge: Object) -> None:
    """The charge's own sums: what was never captured counts as refunded."""
    back = charge["amount"] - charge["amount_captured"] + given_back(books, charge)
    charge.update(amount_refunded=back, refunded=back >= charge["amount"])


def settle(books: Books, number: str, end: str, failure_reason: str = "lost_or_stolen_card") -> Object:
    """A refund's later fate. A succeeded one may still fail: the bank sends the money back."""
    refund = books.find("refund", number)
    if end not in ENDS or refund["status"] in ("failed", "canceled"):
        raise ValueError(f"a refund that is {refund['status']} does not become {end}")
    refund.update(status=end, pending_reason=None, failure_reason=failure_reason if end == "failed" else None)
    charge = books.find("charge", refund["charge"])
    count(books, charge)
    books.emit("refund.updated", refund)
    books.emit("charge.refund.updated", refund)
    if end == "failed":
        books.emit("refund.failed", refund)
    return refund


def dispute(books: Books, intent: Object, amount: int | None = None) -> Object:
    """The buyer asks the bank for the money back."""
    charge = books.find("charge", intent["latest_charge"])
    if not charge["captured"] or charge["disputed"]:
        raise ValueError(f"{charge['id']} cannot be disputed")
    charge["disputed"] = True
    made = books.add(
        "dispute",
        id=books.number("du_1"),
        amount=charge["amount_captured"] if amount is None else amount,
        balance_transactions=[],
        charge=charge["id"],
        created=books.now(),
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={},
        evidence_details={"due_by": books.now() + 7 * 86400, "has_evidence": False, "past_due": False, "submission_count": 0},
        is_charge_refundable=False,
        livemode=False,
        metadata={},
        payment_intent=intent["id"],
        reason="fraudulent",
        status="needs_response",
    )
    books.emit("charge.dispute.created", made)
    books.emit("charge.dispute.funds_withdrawn", made)
    return made


def close_dispute(books: Books, made: Object, won: bool) -> Object:
    if made["status"] in ("won", "lost"):
        raise ValueError(f"{made['id']} is {made['status']}")
    made["status"] = "won" if won else "lost"
    books.emit("charge.dispute.closed", made)
    if won:
        books.emit("charge.dispute.funds_reinstated", made)
    return made


def of(params: Object, found: Object) -> bool:
    """The filters of both lists."""
    return all(params.get(name) in (None, found[name]) for name in ("charge", "payment_intent"))
