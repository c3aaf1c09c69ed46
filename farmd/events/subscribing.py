"""What a subscription may say: known events, headers that cannot forge a request, an address events may go to.

Each check answers with every defect it finds, at its field, so that a person mends them in one go.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from farmd.domain.catalog import Problem
from farmd.domain.events import EVENT_TYPES, known_pattern

MOST_EVENTS, MOST_HEADERS, LONGEST_VALUE = 50, 20, 1024
_FAMILIES = ("*", *sorted({event.split(".")[0] + ".*" for event in EVENT_TYPES}))
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)


def event_problems(events: Sequence[str]) -> list[Problem]:
    """What is wrong with the list of events to be told."""
    if not 1 <= len(events) <= MOST_EVENTS:
        return [Problem("/events", f'name 1 to {MOST_EVENTS} events, or ["*"] for all')]
    return [
        Problem(f"/events/{position}", _unknown(pattern)) for position, pattern in enumerate(events) if not known_pattern(pattern)
    ]


def _unknown(pattern: str) -> str:
    words = pattern.strip().lower().replace("-", "_").replace(":", ".")[:64]
    near = get_close_matches(words, (*EVENT_TYPES, *_FAMILIES), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join((*_FAMILIES, *EVENT_TYPES))}"
    return f"{pattern[:64]!r} is not an event; {hint}"


def header_problems(headers: Mapping[str, str]) -> list[Problem]:
    """What is wrong with a subscription's own headers. A value is never repeated: it may be a secret."""
    if len(headers) > MOST_HEADERS:
        return [Problem("/headers", f"at most {MOST_HEADERS} headers")]
    found = []
    names: set[str] = set()
    for name, value in headers.items():
        where, lowered = f"/headers/{name.replace('~', '~0').replace('/', '~1')}"[:120], name.lower()
        if not _TOKEN.fullmatch(name):
            found.append(Problem(where, "a header's name has letters, digits and hyphens only"))
        elif lowered in _OURS or lowered.startswith(("webhook-", "proxy-")):
            found.append(Problem(where, f"{name} is set by farmd itself"))
        elif lowered in names:
            found.append(Problem(where, f"{name} stands twice"))
        if len(value) > LONGEST_VALUE or not _VALUE.fullmatch(value):
            found.append(Problem(where, f"a header's value has 1 to {LONGEST_VALUE} printable ASCII characters and no line break"))
        names.add(lowered)
    return found
