"""OctoPrint's words for what its machine is doing, and what each of them implies.

Taken from a running OctoPrint 1.11: the texts go over the wire as they stand and must never be prettified.
"""

from enum import Enum


class State(Enum):
    """The value is the text shown; the name is the `state_id` of an event."""

    OFFLINE = "Offline"
    OPEN_SERIAL = "Opening serial connection"
    CONNECTING = "Connecting"
    OPERATIONAL = "Operational"
    STARTING = "Starting"
    PRINTING = "Printing"
    PAUSING = "Pausing"
    PAUSED = "Paused"
    RESUMING = "Resuming"
    CANCELLING = "Cancelling"
    FINISHING = "Finishing"
    ERROR = "Error"

    @property
    def operational(self) -> bool:
        return self not in _CLOSED and self not in (State.OPEN_SERIAL, State.CONNECTING)

    @property
    def printing(self) -> bool:
        """Moving, or about to, or just before rest; a paused print is not "printing"."""
        return self.operational and self not in (State.OPERATIONAL, State.PAUSED)

    @property
    def busy(self) -> bool:
        return self.printing or self is State.PAUSED


_CLOSED = (State.OFFLINE, State.ERROR)


def text(state: State, error: str) -> str:
    """The state as a person reads it."""
    return "Offline after error" if state is State.OFFLINE and error else state.value


def flags(state: State, error: str) -> dict[str, bool]:
    return {
        "operational": state.operational,
        "printing": state.printing,
        "cancelling": state is State.CANCELLING,
        "pausing": state is State.PAUSING,
        "resuming": state is State.RESUMING,
        "finishing": state is State.FINISHING,
        "closedOrError": state in _CLOSED,
        "error": state is State.ERROR or (state is State.OFFLINE and bool(error)),
        "paused": state is State.PAUSED,
        "ready": state is State.OPERATIONAL,
        "sdReady": state.operational,
    }
