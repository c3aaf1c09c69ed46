"""What may stand in farmd.toml, section by section, in the file's own words and types.

Nothing is resolved here: paths stay relative, money stays text. A validator must never repeat the value of a secret.
"""

import ipaddress
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from farmd.domain.catalog import COLOR

PRINTER_ID = re.compile(r"[a-z0-9][a-z0-9-]*")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
Seconds = Annotated[int, Field(ge=5, le=86_400)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _check_id(value: str) -> str:
    if not PRINTER_ID.fullmatch(value) or len(value) > 40:
        raise ValueError("use lower-case letters, digits and dashes, at most 40, for example mk3-01")
    return value


def _check_color(value: str) -> str:
    if not COLOR.fullmatch(value.lower()):
        raise ValueError("write a colour as #rrggbb, for example #1a1a1a")
    return value.lower()


def _check_currency(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise ValueError("use a three-letter ISO 4217 code in capitals, for example USD")
    return value


def _check_store_url(value: str) -> str:
    if value.startswith("postgresql+psycopg://"):
        return value
    if not value.startswith("sqlite:///") or value in ("sqlite:///", "sqlite:///:memory:"):
        raise ValueError("use sqlite:///farmd.db (a file beside this one) or postgresql+psycopg://user@host/name")
    return value


def _check_rate(value: str) -> str:
    try:
        rate = Decimal(value)
    except InvalidOperation:
        rate = Decimal(-1)
    if not rate.is_finite() or not 0 <= rate < 1:
        raise ValueError('use a fraction in quotes: 8.26 % is "0.0826"')
    return value


def _check_peer(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        if not HOST.fullmatch(value):
            raise ValueError("use a host name, an address or a network such as 192.168.1.0/24, without http://") from None
    return value


def _check_stripe_key(value: str) -> str:
    if not value.startswith(("sk_", "rk_")):
        raise ValueError("this is not a secret key of Stripe; it begins with sk_ or rk_")
    return value


def _check_web_address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("use a whole address that begins with https://")
    return value


def _check_country(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2}", value):
        raise ValueError("use the two letters of ISO 3166-1, for example US")
    return value.upper()


def _check_countries(value: list[str]) -> list[str]:
    if not value:
        raise ValueError("name a country, or leave the key out for everywhere")
    return value


def _check_name(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("write some text on one line, or leave the key out")
    return value.strip()


WebAddress = Annotated[str, AfterValidator(_check_web_address)]
Rate = Annotated[str, AfterValidator(_check_rate)]
Base = Literal["items", "items+shipping"]
Country = Annotated[str, AfterValidator(_check_country)]
Name = Annotated[str, StringConstraints(max_length=100), AfterValidator(_check_name)]


class Section(BaseModel):
    """A table of the file: types are taken as they stand, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Server(Section):
    host: Words = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 8787


class StorePlace(Section):
    url: Annotated[str, AfterValidator(_check_store_url)] = "sqlite:///farmd.db"
    files: Words = "files"


class Farm(Section):
    currency: Annotated[str, AfterValidator(_check_currency)] = "USD"
    lead_days: Annotated[float, Field(ge=0, le=365)] = 3.0


class Stripe(Section):
    api_key: Annotated[str, AfterValidator(_check_stripe_key)] | None = None
    webhook_secrets: list[Words] = []
    api_base: WebAddress | None = None
    success_url: WebAddress | None = None
    cancel_url: WebAddress | None = None
    mode: Literal["webhook", "poll", "both"] = "both"
    sweep_seconds: Seconds = 300
    session_hours: Annotated[float, Field(ge=0.6, le=24)] = 24.0  # Stripe takes 30 minutes to 24 hours; a little is lost on the way
    capture: Literal["automatic", "when_sliced"] = "automatic"
    on_deadline: Literal["capture", "cancel"] = "cancel"


class Payments(Section):
    provider: Literal["manual", "stripe"] = "manual"
    unpaid_hours: Annotated[float, Field(gt=0, le=8760)] | None = None
    stripe: Stripe | None = None


class Webhooks(Section):
    allow: list[Annotated[str, AfterValidator(_check_peer)]] = ["127.0.0.1"]


class Slicer(Section):
    engine: Literal["prusaslicer"] = "prusaslicer"
    command: Words = "prusa-slicer"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    cache_bytes: Annotated[int, Field(ge=100_000_000)] = 20_000_000_000
    profiles: Words | None = None


class Backup(Section):
    folder: Words | None = None
    every_hours: Annotated[float, Field(ge=0, le=168)] = 1.0
    keep: Annotated[int, Field(ge=2, le=10_000)] = 48


class ShippingRule(Section):
    countries: Annotated[list[Country], AfterValidator(_check_countries)] | None = None
    max_weight_g: Annotated[int, Field(ge=0)] | None = None
    min_subtotal: Words | None = None
    max_subtotal: Words | None = None
    price: Words
    name: Name | None = None


class Shipping(Section):
    flat: Words = "0"
    free_over: Words | None = None
    rules: list[ShippingRule] = []


class TaxRule(Section):
    country: Country
    state: Name | None = None
    zip_prefix: Name | None = None
    rate: Rate
    base: Base | None = None
    name: Name | None = None


class Tax(Section):
    rate: Rate = "0"
    base: Base = "items+shipping"
    rounding: Literal["half_up", "half_even", "up"] = "half_up"
    round_at: Literal["order", "line"] = "order"
    prices_include_tax: bool = False
    rules: list[TaxRule] = []


class Printer(Section):
    """The keys every printer has; those of its driver stand beside them and are checked against the driver's own list."""

    model_config = ConfigDict(extra="allow")

    id: Annotated[str, AfterValidator(_check_id)]
    driver: Words
    bed: Annotated[list[Annotated[float, Field(gt=0, le=5000)]], Field(min_length=3, max_length=3)] = [
        250.0,
        210.0,
        210.0,
    ]
    nozzle: Annotated[float, Field(ge=0.1, le=2)] = 0.4
    material: Words | None = None
    color: Annotated[str, AfterValidator(_check_color)] | None = None
    profile: Words = "generic-0.4"
    bed_clear: Literal["manual", "auto"] = "manual"


class Document(Section):
    """The whole file."""

    server: Server = Server()
    store: StorePlace = StorePlace()
    farm: Farm = Farm()
    payments: Payments = Payments()
    webhooks: Webhooks = Webhooks()
    slicer: Slicer = Slicer()
    backup: Backup = Backup()
    shipping: Shipping = Shipping()
    tax: Tax = Tax()
    printers: list[Printer] = []
