"""How farmd speaks to the journal: one line per fact, with the ids of order, job, attempt and printer as keys.

At a terminal the lines are coloured for eyes, anywhere else they are JSON. What looks like a secret is blotted out here, once, for
every room and every library.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_KEY = re.compile(r"(?i)(api_?key|access_?code|secret|password|authorization|token_?value)")
_SECRET_TEXT = re.compile(r"(fk_[0-9A-Za-z-]+_|whsec_|(?<![0-9A-Za-z])[sr]k_(?:(?:live|test)_)?)[0-9A-Za-z*+/=_-]{6,}")
_QUIET = ("httpx", "httpcore", "websockets", "uvicorn", "apscheduler", "asyncio", "sse_starlette", "alembic", "stripe")


def blot_text(text: str) -> str:
    """`text` without the keys of farmd or Stripe that somebody may have written into it."""
    return _SECRET_TEXT.sub(r"\1***", text)


def blot(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what must never be read: values of secret-looking keys, and keys of farmd or Stripe inside any text."""
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = blot_text(value)
    return event


def configure(*, level: int = logging.INFO) -> None:
    """Set up logging for this process; libraries are heard from WARNING upwards."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    eyes = sys.stderr.isatty()
    last: list[structlog.typing.Processor] = (
        [blot, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # never a variable's value
        if eyes
        else [structlog.processors.format_exc_info, blot, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every reader that hung up
