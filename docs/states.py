"""Writes `docs/states.md` from the tables that farmd itself moves by: `python docs/states.py > docs/states.md`.

States and moves come from `farmd.domain.lifecycle`; only their meaning in an owner's words stands here. A state or signal without
words stops this script, so that nothing new stays untold.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Any

from farmd.domain.events import ORDER_EVENTS
from farmd.domain.lifecycle import (
    ATTEMPT_MOVES,
    FORWARD,
    JOB_MOVES,
    AttemptSignal,
    AttemptState,
    JobFact,
    JobSignal,
    JobState,
    OrderFacts,
    OrderStatus,
    order_status,
)

ORDER_WORDS = {
    OrderStatus.PENDING_PAYMENT: "Placed and priced. Nothing is made before the money has arrived.",
    OrderStatus.PAID: "The whole amount has arrived; every line item has become a job.",
    OrderStatus.PROCESSING: "The first job is being validated or sliced, or waits in the queue.",
    OrderStatus.PRINTING: "A printer was seen working on it. Also while a failed plate waits for its next try.",
    OrderStatus.POST_PROCESSING: "Every unit is printed; somebody has to finish or inspect some of them.",
    OrderStatus.READY: "Every ordered unit is good.",
    OrderStatus.SHIPPED: "A carrier took it, and the tracking number is known.",
    OrderStatus.CANCELLED: "Taken back. It keeps this word whether or not money went back; `cancellation` tells that.",
    OrderStatus.REFUNDED: "Not cancelled, and the whole captured amount was returned.",
}
JOB_WORDS = {
    JobState.CREATED: "Paid for; the pipeline has not looked at it yet.",
    JobState.VALIDATING: "Its model is taken and fitted to the printers. Stays here while either is missing; see `waitsFor`.",
    JobState.SLICING: "It is cut into plates, each sliced for every kind of printer that has room for it.",
    JobState.QUEUED: "At least one plate waits for a printer, and none of the job is on one.",
    JobState.PRINTING: "At least one plate is on a printer.",
    JobState.POST_PROCESSING: "Nothing waits and nothing prints; units wait for an operator.",
    JobState.READY: "As many good units as were ordered.",
    JobState.FAILED: "It cannot go on by itself: retry it or cancel it. `failure` names the reason and the cure.",
    JobState.CANCELLED: "Nobody wants it any more; what was on a printer is stopped.",
}
ATTEMPT_WORDS = {
    AttemptState.ASSIGNED: "The plate is bound to the printer, and nothing was sent.",
    AttemptState.UPLOADING: "The file is on its way to the printer.",
    AttemptState.UPLOADED: "The whole file is there. Nothing was started.",
    AttemptState.STARTING: "The start may have been sent. From here on the bed counts as occupied; an idle printer proves nothing.",
    AttemptState.PRINTING: "The printer was seen printing this very file.",
    AttemptState.PAUSED: "The same, held.",
    AttemptState.SUCCEEDED: "It ended well, says the printer, its history or a person.",
    AttemptState.FAILED: "It certainly did not come out. The plate waits again.",
    AttemptState.CANCELLED: "Stopped or never started, because that was wanted.",
    AttemptState.UNKNOWN: "Nobody can tell how it ended. The plate is held until a person (or the printer's history) says.",
}
JOB_SIGNALS = {
    JobSignal.VALIDATE: "the pipeline takes the job up",
    JobSignal.SLICE: "its model is sound",
    JobSignal.QUEUE: "its plates are sliced",
    JobSignal.PRINT: "a printer was seen on one of its plates",
    JobSignal.REQUEUE: "units are to be printed (again): a plate failed, units were scrapped, or the job was retried",
    JobSignal.PRINTED: "the last unit left the machine",
    JobSignal.FINISH: "every ordered unit is good",
    JobSignal.FAIL: "it cannot be made as ordered, or a plate failed too often",
    JobSignal.RETRY: "an operator tries again, from the start",
    JobSignal.CANCEL: "the job or its order was cancelled",
}
ATTEMPT_SIGNALS = {
    AttemptSignal.UPLOAD: "the file is about to be sent",
    AttemptSignal.UPLOADED: "the printer has the whole file",
    AttemptSignal.SEND_START: "the start is about to be sent; written before it leaves",
    AttemptSignal.REFUSED: "the printer proved that it started nothing",
    AttemptSignal.SEEN_PRINTING: "the printer shows this attempt's file running",
    AttemptSignal.SEEN_PAUSED: "the printer shows it held",
    AttemptSignal.SUCCEED: "it finished",
    AttemptSignal.FAIL: "it ended without a part, or could not begin",
    AttemptSignal.CANCEL: "it was stopped as wished",
    AttemptSignal.LOSE: "it is gone from the machine, and the machine's history is silent",
}
HEAD = """# States

Written by `docs/states.py` from `farmd/domain/lifecycle.py`, the tables farmd itself moves by. Change those, then run
`.venv/bin/python docs/states.py > docs/states.md`.

An **order** has line items. Each paid line item is a **job**. A job is cut into **plates**, each one file with some copies on it.
An **attempt** is one plate on one printer, once.
"""


def order_moves() -> dict[tuple[OrderStatus, OrderStatus], str]:
    """From status to status, with what brings it about; the targets are what the fold itself answers."""
    moves = dict.fromkeys(pairwise(FORWARD), "")
    for since in FORWARD:
        if since is not OrderStatus.SHIPPED:
            moves[since, _fold(since, cancelled=True)] = "cancel"
        if since is not OrderStatus.PENDING_PAYMENT:
            moves[since, _fold(since, refunded=1)] = "all money returned"
    moves[OrderStatus.REFUNDED, _fold(OrderStatus.PAID, refunded=1, cancelled=True)] = "cancel"
    return moves


def _fold(since: OrderStatus, *, cancelled: bool = False, refunded: int = 0) -> OrderStatus:
    paid = since is not OrderStatus.PENDING_PAYMENT
    jobs = (JobFact(JobState.QUEUED, ordered=1, printed=0, good=0),) if paid else ()
    return order_status(
        OrderFacts(
            paid=paid,
            shipped=since is OrderStatus.SHIPPED,
            cancelled=cancelled,
            captured=int(paid),
            refunded=refunded,
            jobs=jobs,
            high_water=since,
        )
    )


def diagram(moves: Iterable[tuple[str, str, str]]) -> str:
    """A mermaid state diagram; several reasons for the same way share its arrow."""
    ways: dict[tuple[str, str], list[str]] = {}
    for before, after, reason in moves:
        ways.setdefault((before, after), []).append(reason)
    arrows = (f"    {a} --> {b}{': ' if any(why) else ''}{', '.join(filter(None, why))}" for (a, b), why in ways.items())
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```"])


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ("---",) * len(heads), *rows))


def _orders() -> Iterator[str]:
    moves = order_moves()
    yield "## Order status"
    yield (
        "The nine words of the order API. The status is folded from the order's facts and never moves backwards: an order\n"
        "that was `printing` stays `printing` while a failed plate is queued again. A jump passes every status on its way, each\n"
        "with its event."
    )
    yield diagram((before.value, after.value, why) for (before, after), why in moves.items())
    yield table(
        ("status", "meaning", "event on entering"),
        ((f"`{status}`", ORDER_WORDS[status], f"`{ORDER_EVENTS[status]}`") for status in OrderStatus),
    )
    yield "A shipped order is not cancelled any more, only refunded. What these words cannot say stands in the order's `attention`."


def _machine(
    title: str,
    text: str,
    moves: Mapping[tuple[Any, Any], StrEnum],
    words: Mapping[Any, str],
    signals: Mapping[Any, str],
    apart: frozenset[str],
) -> Iterator[str]:
    """One table of moves: its diagram without the signals in `apart`, what those do, its states, its signals."""
    yield title
    yield text
    yield diagram((b.value, after.value, s.value) for (b, s), after in moves.items() if s.value not in apart)
    for signal in sorted(apart):
        befores = [f"`{before}`" for before, given in moves if given.value == signal]
        (after,) = {after for (_, given), after in moves.items() if given.value == signal}
        yield f"Not drawn: `{signal}` leads to `{after}` from {', '.join(befores)}."
    yield table(
        ("state", "meaning", "leaves by"),
        (
            (
                f"`{state}`",
                words[state],
                ", ".join(f"{s} → `{after}`" for (b, s), after in moves.items() if b is state) or "nothing: it is final",
            )
            for state in type(next(iter(words)))
        ),
    )
    yield table(("signal", "what happened"), ((f"`{signal}`", signals[signal]) for signal in type(next(iter(signals)))))


def document() -> str:
    """The whole page."""
    ends = frozenset({"cancel", "fail"})
    job = (
        "One line item on its way to good parts. It follows its unit ledger (`units`): waiting, printing, printed, good, scrapped."
    )
    attempt = (
        "Its id stands in the name of the file on the printer; by that name the printer is asked whether a print is ours. A start\n"
        "is sent once for each attempt. `farmd/domain/reconcile.py` holds the whole table of what is done when."
    )
    parts = [
        HEAD.rstrip(),
        *_orders(),
        *_machine("## Job states", job, JOB_MOVES, JOB_WORDS, JOB_SIGNALS, ends),
        *_machine("## Attempt states", attempt, ATTEMPT_MOVES, ATTEMPT_WORDS, ATTEMPT_SIGNALS, ends),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
