"""What `farmd doctor` finds out about Stripe, step by step: key, rights, clock, currency, webhook endpoint. Changes nothing there.

A failed step names the cure; the steps after it are left out where they would only repeat it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from farmd.config import StripeSettings
from farmd.payments.stripe_api import API_VERSION, Shut, StripeApi, StripeProblem, Unavailable
from farmd.payments.stripe_shapes import EVENT_TYPES, text

PATH = "/webhooks/stripe"
MAX_SKEW = 240.0
"""Seconds this machine's clock may differ; Stripe's signatures are good for 300."""
_CODES = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP CNY COP
CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY
KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TND TOP
TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XOF XPF YER ZAR ZMW
"""
CURRENCIES = frozenset(_CODES.split())
"""What Stripe takes payments in (docs.stripe.com/currencies)."""


@dataclass(frozen=True, slots=True)
class StripeStep:
    """One step of the examination."""

    name: str
    ok: bool
    detail: str


async def examine_stripe(stripe: StripeSettings, currency: str) -> AsyncIterator[StripeStep]:
    """Everything that can be wrong with an account, its key and its webhook."""
    api = StripeApi(stripe, timeout=15.0, retries=1)
    try:
        async for step in _examine(api, stripe, currency):
            yield step
    finally:
        await api.close()


async def _examine(api: StripeApi, stripe: StripeSettings, currency: str) -> AsyncIterator[StripeStep]:
    where = stripe.api_base or "https://api.stripe.com"
    try:
        told = await api.clock()
    except Shut as error:
        yield StripeStep("key", False, f"{where} refuses it ({error}): copy the secret key again from the dashboard, API keys")
        return
    except StripeProblem as error:
        yield StripeStep("connection", False, f"{where} does not answer ({error}): is there a network?")
        return
    live = "_live_" in stripe.api_key
    yield StripeStep("connection", True, where)
    yield StripeStep("key", True, f"accepted ({'live' if live else 'test'} mode)")
    yield _clock(told)
    for name, ask in _rights(api).items():
        yield await _right(name, ask)
    yield await _currency(api, currency)
    yield _secrets(stripe)
    yield await _endpoint(api, stripe)


def _clock(told: datetime | None) -> StripeStep:
    if told is None:
        return StripeStep("clock", True, "not told by the answer")
    skew = (datetime.now(UTC) - told).total_seconds()
    cure = "" if abs(skew) <= MAX_SKEW else ": set it (timedatectl set-ntp true), or every webhook is refused as too old"
    return StripeStep(
        "clock", abs(skew) <= MAX_SKEW, f"this machine is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}{cure}"
    )


def _rights(api: StripeApi) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "Checkout Sessions": lambda: anext(api.sessions_since(int(datetime.now(UTC).timestamp())), None),
        "PaymentIntents": api.payments_can_be_read,
        "Refunds": api.refunds_can_be_read,
        "Disputes": api.disputes_can_be_read,
        "Events": lambda: api.events(list(EVENT_TYPES), limit=1),
    }


async def _right(name: str, ask: Callable[[], Awaitable[object]]) -> StripeStep:
    try:
        await ask()
    except Shut as error:
        cure = (
            f"the key may not read {name} ({error}): a restricted key needs write on Checkout Sessions, PaymentIntents and Refunds"
        )
        return StripeStep(f"right: {name}", False, f"{cure}, and read on Disputes and Events")
    except Unavailable as error:
        return StripeStep(f"right: {name}", False, str(error))
    except StripeProblem as error:  # refused for another reason than the key
        return StripeStep(f"right: {name}", True, f"could not be tried ({error})")
    return StripeStep(f"right: {name}", True, "may be read")


async def _currency(api: StripeApi, currency: str) -> StripeStep:
    if currency not in CURRENCIES:
        return StripeStep("currency", False, f"Stripe takes no payments in {currency}: correct [farm] currency")
    try:
        account = await api.account()
    except StripeProblem:
        return StripeStep("currency", True, f"{currency}; the account itself cannot be seen with this key")
    if account.get("charges_enabled") is False:
        return StripeStep("account", False, "it may not take payments yet: finish its activation in the dashboard")
    home = (text(account, "default_currency") or currency).upper()
    note = "" if home == currency else f"; the account is kept in {home}, so Stripe converts, for a fee"
    return StripeStep("currency", True, f"{currency}{note}")


def _secrets(stripe: StripeSettings) -> StripeStep:
    if stripe.mode == "poll":
        return StripeStep("webhook secrets", True, "not needed: farmd asks by itself (mode = poll)")
    wrong = sum(not secret.startswith("whsec_") for secret in stripe.webhook_secrets)
    if wrong:
        return StripeStep("webhook secrets", False, f"{wrong} of them do not begin with whsec_: copy the endpoint's signing secret")
    return StripeStep("webhook secrets", bool(stripe.webhook_secrets), f"{len(stripe.webhook_secrets)} given")


async def _endpoint(api: StripeApi, stripe: StripeSettings) -> StripeStep:
    if stripe.mode == "poll":
        return StripeStep("webhook endpoint", True, "not needed")
    try:
        endpoints = await api.endpoints()
    except StripeProblem as error:
        return StripeStep("webhook endpoint", True, f"cannot be seen with this key ({error})")
    mine = [each for each in endpoints if (text(each, "url") or "").rstrip("/").endswith(PATH)]
    if not mine:
        note = "farmd asks every sweep_seconds meanwhile" if stripe.mode == "both" else "nothing will be told"
        cure = f"none ends in {PATH} ({note}): create one in the dashboard, or run stripe listen --forward-to 127.0.0.1:8787{PATH}"
        return StripeStep("webhook endpoint", stripe.mode == "both", cure)
    faults = [fault for fault in map(_fault, mine) if fault]
    if len(faults) == len(mine):
        return StripeStep("webhook endpoint", False, faults[0])
    return StripeStep("webhook endpoint", True, str(text(mine[0], "url")))


def _fault(endpoint: Mapping[str, Any]) -> str | None:
    """What is wrong with one endpoint."""
    version, events = text(endpoint, "api_version"), endpoint.get("enabled_events") or []
    if text(endpoint, "status") == "disabled":
        return "it is disabled: enable it in the dashboard"
    if version not in (None, API_VERSION):
        return f"it speaks API version {version}, this farmd {API_VERSION}: create the endpoint anew with that version"
    absent = [] if "*" in events else [name for name in EVENT_TYPES if name not in events]
    return f"it does not send {', '.join(absent[:4])}{' and more' if len(absent) > 4 else ''}: add these events" if absent else None
