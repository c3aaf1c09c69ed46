"""The farm's settings: one TOML file, the environment and systemd credentials, checked once and frozen.

Every key that stands in the file must be known; a misspelt one is refused with its line and the nearest known key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from farmd.domain.money import card_coin
from farmd.domain.pricing import TaxRule
from farmd.domain.tariffs import ShippingRule, TaxZone
from farmd.shipped import shipped_config

NO_TAX = TaxRule(Decimal(0))


@dataclass(frozen=True, slots=True)
class PrinterSettings:
    """One `[[printers]]` block. `options` are the driver's own keys, secrets resolved; `given` names the keys that stand in the
    file. `machine` is the model this printer's files must be made for, see `domain.machines`; only its driver knows it."""

    id: str
    driver: str
    options: Mapping[str, Any] = field(repr=False)
    bed: tuple[float, float, float] = (250.0, 210.0, 210.0)
    nozzle: float = 0.4
    material: str | None = None
    color: str | None = None
    profile: str = "generic-0.4"
    bed_clear: Literal["manual", "auto"] = "manual"
    machine: str | None = None
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SlicerSettings:
    """Which slicer cuts, and how many at a time."""

    engine: str = "prusaslicer"
    command: str = "prusa-slicer"
    workers: int = 1
    cache_bytes: int = 20_000_000_000


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """The backups that farmd makes by itself; none when `every_hours` is 0."""

    folder: Path = Path("backups")  # resolved: absolute
    every_hours: float = 1.0
    keep: int = 48


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """How farmd speaks to Stripe. `api_base` None is Stripe itself."""

    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    api_base: str | None = None
    success_url: str | None = None  # None: a page of farmd's own
    cancel_url: str | None = None
    mode: Literal["webhook", "poll", "both"] = "both"
    sweep_seconds: int = 300
    session_hours: float = 24.0
    capture: Literal["automatic", "when_sliced"] = "automatic"
    on_deadline: Literal["capture", "cancel"] = "cancel"  # what becomes of an authorisation that is about to lapse


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon is told."""

    directory: Path  # the config file's folder; relative paths start here
    host: str = "127.0.0.1"
    port: int = 8787
    store_url: str = "sqlite:///farmd.db"  # resolved: absolute for SQLite
    files: Path = Path("files")  # resolved: absolute
    profiles: Path = field(default_factory=lambda: shipped_config() / "profiles")  # the owner's own folder or the shipped one
    currency: str = "USD"
    lead_days: float = 3.0  # an order is due this long after it is placed, unless it says otherwise
    payment_provider: Literal["manual", "stripe"] = "manual"
    stripe: StripeSettings | None = None
    unpaid_hours: float | None = None  # an order that is not paid by then is cancelled; None: never
    webhook_allow: tuple[str, ...] = ("127.0.0.1",)
    slicer: SlicerSettings = SlicerSettings()
    backup: BackupSettings = BackupSettings()
    shipping_flat: int = 0  # minor units
    shipping_rules: tuple[ShippingRule, ...] = ()
    shipping_free_over: int | None = None  # minor units
    tax: TaxRule = NO_TAX
    tax_zones: tuple[TaxZone, ...] = ()
    printers: tuple[PrinterSettings, ...] = ()

    @property
    def machines(self) -> Path:
        """Holds a folder for each printer's driver."""
        return self.files / "machines"

    @property
    def coin(self) -> int:
        """Minor units that every amount is whole multiples of: what cards can be charged, where cards are."""
        return card_coin(self.currency) if self.payment_provider == "stripe" else 1
