"""What the handlers work with, handed in by `daemon.py`; the door builds none of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from farmd.backups.hourly import Backups
from farmd.config import Settings
from farmd.domain.model import ModelReport
from farmd.domain.ports import World
from farmd.events.feed import Feed
from farmd.fleet.registry import Registry
from farmd.payments.build import StripeDesk
from farmd.payments.manual import ManualPayments
from farmd.payments.provider import Provider
from farmd.store.engine import Store


@dataclass
class Rooms:
    """The rooms below. `validate` is `farmd.pipeline.validate.validate_model`; `ready` says whether every printer has
    its supervisor; `payments` must be the provider that the settings name, `desk` what works for Stripe.
    `backups` is None where none are made by the clock."""

    settings: Settings
    store: Store
    world: World
    registry: Registry
    feed: Feed
    validate: Callable[..., Awaitable[ModelReport]]
    ready: Callable[[], bool] = lambda: True
    payments: Provider = field(default_factory=ManualPayments)
    desk: StripeDesk | None = None
    backups: Backups | None = None
