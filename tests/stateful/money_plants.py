"""Faults as somebody could make them in the code that moves money, each planted into a copy of farmd; the machine has to find them.

    PYTHONPATH=. .venv/bin/python tests/stateful/money_plants.py [part of a name ...]

Tells what finds each of them and after how long, and ends with 1 when one lives. The work tree is never touched.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MACHINE = "tests/stateful/test_money_machine.py"
MODES = ("TestMoneyAtOnce", "TestMoneyWhenSliced")
COPY = "test_it_is_the_planted_farmd_that_lives"
PATIENCE = 600.0  # seconds for one life of the suite's machine

TILL, LEDGER, INBOX = "farmd/payments/till.py", "farmd/payments/ledger.py", "farmd/payments/inbox.py"
WISHES, ROWS = "farmd/domain/till.py", "farmd/store/till.py"


@dataclass(frozen=True)
class Change:
    """`old` stands in the file exactly once and becomes `new`."""

    file: str
    old: str
    new: str


BELIEVES = """    if hint.get("paid"):
        from farmd.store.order_lists import order_row
        from farmd.store.sales import record_payment

        till.change_checkout(tx, till.checkout_row(tx.connection, checkout["id"]), state="PAID")
        order = order_row(tx.connection, checkout["order_id"])
        if order["paid_at"] is None and order["cancelled_at"] is None:
            record_payment(tx, order, None, paid_by=checkout["id"])
"""

GIVES_UP = """        from farmd.domain.till import RefundState
        from farmd.store.refunds import move_refund, refund_row

        def give_up(tx: Tx) -> None:
            till.close_call(tx, till.call_row(tx.connection, call["id"]), "REFUSED", refusal.why)
            if call["kind"] == Want.REFUND:
                move_refund(tx, refund_row(tx.connection, call["refund_id"]), RefundState.FAILED, failure=refusal.why)
            self._ledger.settle(tx, call["order_id"])

        await self._store.write(give_up)
        if False:"""

PLANTS: Mapping[str, tuple[Change, ...]] = {
    "a refund is asked for under another key each time": (
        Change(TILL, "return await self._api.refund(body, key)", "return await self._api.refund(body, f\"{key}-{call['tries']}\")"),
    ),
    "a refund is repeated after Stripe forgot its key": (
        Change(TILL, '(call["tries"] % DOUBT_AFTER and now - call["sent_at"] < KEY_LIVES)', "True"),
    ),
    "what is on its way back is not subtracted": (
        Change(WISHES, "and refund.state is not RefundState.FAILED)", "and refund.state is RefundState.SUCCEEDED)"),
    ),
    "a cancelled order keeps its money": (
        Change(WISHES, "case CheckoutState.PAID if unwanted:", "case CheckoutState.PAID if unwanted and not order.cancelled:"),
    ),
    "a cancelled order keeps a promise": (
        Change(WISHES, "case CheckoutState.AUTHORIZED if unwanted:", "case CheckoutState.AUTHORIZED if False:"),
    ),
    "a cancelled order can still be paid": (
        Change(WISHES, "case CheckoutState.OPEN if unwanted:", "case CheckoutState.OPEN if False:"),
    ),
    "an opening that was asked for is forgotten at a cancellation": (
        Change(
            WISHES, "case CheckoutState.WANTED if not unwanted or checkout.asked:", "case CheckoutState.WANTED if not unwanted:"
        ),
        Change(LEDGER, 'if unwanted and call["sent_at"] is None:', "if unwanted:"),
    ),
    "an opening is repeated under a new key without a look": (
        Change(TILL, "if found is not None:\n            checkout =", "if found is not None and not call:\n            checkout ="),
    ),
    "a message is believed": (
        Change(
            INBOX,
            '    till.look_soon(tx, [checkout["id"]])\n    till.settle',
            BELIEVES + '    till.look_soon(tx, [checkout["id"]])\n    till.settle',
        ),
        Change(INBOX, 'return {"session": session,', 'return {"paid": thing.get("payment_status") == "paid", "session": session,'),
    ),
    "a new checkout is opened beside an open one": (
        Change(
            ROWS,
            "WAITING_FOR_MONEY = (CheckoutState.WANTED, CheckoutState.OPEN, CheckoutState.PROCESSING)",
            "WAITING_FOR_MONEY = (CheckoutState.WANTED, CheckoutState.PROCESSING)",
        ),
    ),
    "the amount is not compared": (Change(LEDGER, "agrees=(same and whole) or not money", "agrees=True"),),
    "refunds made elsewhere are not booked": (
        Change(LEDGER, "                self._book_foreign(account, checkout_id, refund)", "                pass"),
    ),
    "a refused refund is given up without a look": (
        Change(TILL, '        if not await self.look(checkout["id"], refusal):', GIVES_UP),
    ),
    "a cancelled order's promise is collected first": (
        Change(WISHES, "yield Missing(Want.VOID, checkout.id)", "yield Missing(Want.CAPTURE, checkout.id)"),
    ),
}


def planted(changes: Iterable[Change], root: Path) -> None:
    """Make these changes under `root`. Raises `ValueError` for one whose old text is not there any more."""
    for change in changes:
        file = root / change.file
        text = file.read_text()
        if text.count(change.old) != 1:
            raise ValueError(f"{change.file} has {text.count(change.old)} times: {change.old}")
        file.write_text(text.replace(change.old, change.new))


@dataclass(frozen=True)
class Found:
    """`by` is the test that went red, None when none did."""

    by: str | None
    seconds: float
    words: str = ""


def search(changes: Iterable[Change]) -> Found:
    """Run the machine of the suite, as the suite runs it, against a farmd with these changes."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farmd-plant-") as folder:
        copy = Path(folder)
        for package in ("farmd", "drivers"):
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        planted(changes, copy)
        for mode in MODES:
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--timeout={PATIENCE:g}"]
            # the safe path keeps the work tree's own farmd from coming before the copy
            known = os.environ | {"PYTHONPATH": f"{copy}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1", "FARMD_PLANTED": str(copy)}
            ended = subprocess.run(
                [*command, f"{MACHINE}::{COPY}", f"{MACHINE}::{mode}"],
                cwd=ROOT,
                env=known,
                capture_output=True,
                text=True,
                check=False,
            )
            if ended.returncode not in (0, 1) or f"{COPY} " in ended.stdout:
                raise RuntimeError(ended.stdout + ended.stderr)
            if broken := re.search(r"^(TypeError|AttributeError|NameError|ImportError): .*", ended.stdout, re.MULTILINE):
                raise RuntimeError(f"the plant itself is broken, which anything would find: {broken[0]}")
            if ended.returncode == 1:
                return Found(mode, time.monotonic() - began, _reason(ended.stdout))
    return Found(None, time.monotonic() - began)


def _reason(output: str) -> str:
    words = [line.removeprefix("E ").strip() for line in output.splitlines() if line.startswith("E ")]
    return next((line for line in words if "Error" in line), words[0] if words else "")[:90]


def main(parts: list[str]) -> int:
    """Every plant, or those whose names contain one of these parts."""
    chosen = {name: changes for name, changes in PLANTS.items() if not parts or any(part in name for part in parts)}
    alive = []
    for name, changes in chosen.items():
        found = search(changes)
        by = f"{found.by}: {found.words}" if found.by else "NOT CAUGHT"
        print(f"{name:62} {found.seconds:6.1f} s  {by}", flush=True)
        alive += [] if found.by else [name]
    print(f"{len(chosen) - len(alive)} of {len(chosen)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
