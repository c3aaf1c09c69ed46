"""Puts the payment room together: the provider that the settings name, and what has to run for it."""

from dataclasses import dataclass

from farmd.config import Settings
from farmd.domain.ports import World
from farmd.payments.by_order import ByOrder
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
    """What works on payments through Stripe: `till` and `inbox` run for ever, `sweep` makes its rounds by the clock."""

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
    """Inside a running loop. As long as the settings have a key for Stripe its desk works, also where new orders are paid by hand
    again. Raises `ValueError` when they name Stripe and have no key for it."""
    if settings.stripe is None:
        if settings.payment_provider == "stripe":
            raise ValueError("[payments.stripe] api_key is missing: the provider is stripe")
        return Payments(ManualPayments())
    api, ledger = StripeApi(settings.stripe), Ledger(settings, settings.stripe)
    inbox, hand = Inbox(store, world, api, settings.stripe), Till(store, world, api, ledger)
    desk = StripeDesk(api, inbox, hand, Sweep(store, world, api, inbox, ledger), settings.stripe.sweep_seconds)
    return Payments(ByOrder(settings.payment_provider, ManualPayments(), StripePayments(ledger, hand)), desk)
