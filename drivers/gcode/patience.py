"""How long a conversation with a Marlin waits, and how often it tries, before it concludes anything. Seconds, unless said.

Every one of them is long for a printer that is merely slow: a machine that heats, homes or complains must never be given up.
"""

PATIENCE = 3.0
"""Seconds without ok or busy after which a lost ok is suspected and the firmware is asked."""
SILENCE, SILENCE_UNTOLD = 30.0, 300.0
"""Seconds without an answer that make a dead printer: of one that is known to tell when it is busy, and of one that is not."""
STUCK, STUCK_UNTOLD = 300.0, 3600.0
"""The same for a printer that goes on talking, about its temperatures, but takes nothing any more."""
QUIET = 0.03
"""The shortest quiet, in seconds, that is taken for the end of the echoes of lines already on their way after a Resend."""
STORM = 5.0
"""Seconds after which a printer that asks again and again without pause is answered nevertheless."""
DOUBT = 1.0
PROBE_PAUSE = 10.0
"""Seconds until a question that was not answered is asked again; twice as long each time."""
SAME_LINE, IN_CIRCLES, ASKED_IN_VAIN = 5, 25, 5
"""How often one line may be refused, how often any without one more being taken, and how often a question be unanswered."""
FAR_BACK, FIRST_LINES = 16, 2
"""Lines before the first one in doubt that a firmware cannot want any more: it has lost its count, or started anew; but a print is
not lost yet when its first line is wanted again after so many."""
ASIDES = 16
"""Commands without a number that may be unanswered."""
