"""Puts the payment room together: the provider that the settings name, and what has to run for it."""

from dataclasses import dataclass

from farmd.config import Settings
from farmd.domain.ports import World
from farmd.payments.inbox import Inbox
from farmd.payments.ledger import Ledger
from farmd.payments.manual import ManualPayments
from farmd.payments.provider import Provider
from farmd.payments.stripe_api import StripeApi
from farmd.payments.stripe_provider import StripePayments
from farmd.payments.sweep import Sweep
from farmd.payments.till import Till
from farmd.store.engine import Store


@dataclass(frozen=True, slots=True)
class StripeDesk:
    """What works on payments through Stripe: `till` runs for ever, `sweep` makes its rounds by the clock."""

    api: StripeApi
    inbox: Inbox
    till: Till
    sweep: Sweep
    sweep_seconds: int


@dataclass(frozen=True, slots=True)
class Payments:
    """The provider, and the desk behind it where there is one."""

    provider: Provider
    stripe: StripeDesk | None = None


def build_payments(settings: Settings, store: Store, world: World) -> Payments:
    """Inside a running loop. Raises `ValueError` when the settings name Stripe and have no key for it."""
    if settings.payment_provider == "manual":
        return Payments(ManualPayments())
    if settings.stripe is None:
        raise ValueError("[payments.stripe] api_key is missing: the provider is stripe")
    api, ledger = StripeApi(settings.stripe), Ledger(settings, settings.stripe)
    inbox = Inbox(store, world, api, settings.stripe)
    hand = Till(store, world, api, inbox, ledger)
    sweep = Sweep(store, world, api, inbox, ledger)
    return Payments(StripePayments(ledger, hand), StripeDesk(api, inbox, hand, sweep, settings.stripe.sweep_seconds))
