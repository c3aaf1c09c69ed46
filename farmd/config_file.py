"""From farmd.toml to `Settings`: read it, lay environment and credentials over it, check every key, resolve paths and money.

A file with a mistake is refused whole, with every mistake named by section, key, line and cure. The value of a secret never
stands in a complaint.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from farmd.config import BackupSettings, PrinterSettings, Settings, SlicerSettings, StripeSettings
from farmd.config_error import ConfigError
from farmd.config_lines import KeyPath, key_lines
from farmd.config_models import Document, Printer, Stripe
from farmd.config_sources import Sources, bare
from farmd.config_tariffs import check_tariffs, free_over, shipping_rules, tax_rule, tax_zones
from farmd.domain.money import to_minor
from farmd.shipped import shipped_config

UNPAID_HOURS = 72.0
LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")
DEFAULT_PATH = Path("/etc/farmd/farmd.toml")
EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text in quotes",
    "string_too_short": "some text",
    "list_type": "a list in [brackets]",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "too_short": "three numbers, [x, y, z] in mm",
    "too_long": "three numbers, [x, y, z] in mm",
}
FOUND = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True)
class _Places:
    """Says where a key stands: a line of the file, or the variable, credential or file its value came from."""

    file: Path
    lines: Mapping[KeyPath, int]
    elsewhere: Mapping[KeyPath, str]

    def of(self, path: KeyPath) -> str:
        for end in range(len(path), 0, -1):
            if path[:end] in self.elsewhere:
                return self.elsewhere[path[:end]]
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return str(self.file)

    def line(self, path: KeyPath) -> int:
        """For sorting: the line of the key or of the nearest table around it, 0 when it has none."""
        return next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 0)


def locate(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The configuration file meant: the one given, or FARMD_CONFIG, or /etc/farmd/farmd.toml."""
    return path or (Path(named) if (named := environ.get("FARMD_CONFIG")) else DEFAULT_PATH)


def load_settings(path: Path | None, environ: Mapping[str, str], drivers: Mapping[str, frozenset[str]]) -> Settings:
    """The checked settings. `drivers`: the option names of every installed driver, by the driver's name. Raises `ConfigError`."""
    file = locate(path, environ).absolute()
    text = _read(file)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file} is not TOML: {error}"]) from None
    sources = Sources(values, file.parent, drivers)
    sources.lay_over(environ)
    problems = sources.problems
    document = _check(sources.values, problems)
    if document is not None:
        problems += [
            *_check_printers(document, drivers),
            *_check_stripe(document, {path for path, _ in problems}),
            *check_tariffs(document),
        ]
    if problems or document is None:
        places = _Places(file, key_lines(text), sources.places)
        problems.sort(key=lambda problem: places.line(problem[0]))
        raise ConfigError(_complaint(values, path, words, places) for path, words in problems)
    return _settings(document, file)


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        cure = "copy farmd.example.toml there, or name your own by --config FILE or FARMD_CONFIG"
        raise ConfigError([f"there is no configuration at {file}: {cure}"]) from None
    except OSError as error:
        raise ConfigError([f"cannot read {file}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file} is not UTF-8 text (byte {error.start})"]) from None


def _check(values: Mapping[str, Any], problems: list[tuple[KeyPath, str]]) -> Document | None:
    try:
        return Document.model_validate(values)
    except ValidationError as error:
        problems += [(tuple(fault["loc"]), _words(fault, values)) for fault in error.errors(include_url=False)]
        return None


def _complaint(values: Mapping[str, Any], path: KeyPath, words: str, places: _Places) -> str:
    if not path:
        return words
    return f"{_label(values, path)}{words}{'' if words.endswith('?') else '.'} {places.of(path)}"


def _label(values: Mapping[str, Any], path: KeyPath) -> str:
    """`[slicer] `, or `[[printers]] mk3-01: `, or `[[tax.rules]] number 2: `, or nothing at the top of the file."""
    if path[0] == "printers" and len(path) > 1 and isinstance(path[1], int):
        printer = values["printers"][path[1]]
        name = printer.get("id") if isinstance(printer, dict) else None
        return f"[[printers]] {name if isinstance(name, str) else f'number {path[1] + 1}'}: "
    if path[1:2] == ("rules",) and len(path) > 2:
        return f"[[{path[0]}.rules]] number {int(path[2]) + 1}: "
    section = ".".join([part for part in path if isinstance(part, str)][:-1])
    return f"[{section}] " if section else ""


def _words(fault: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    path: KeyPath = tuple(fault["loc"])
    key = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    kind = fault["type"]
    if kind == "extra_forbidden":
        return unknown_key(key, _known_keys(path[:-1]))
    if kind == "missing":
        return f"{key} is missing"
    if kind in EXPECTED:
        return f"{key}: expected {EXPECTED[kind]}, found {FOUND.get(type(_value(values, path)), 'something else')}"
    if kind == "value_error":
        return f"{key}: {fault['ctx']['error']}"
    if kind == "literal_error":
        return f"{key}: expected {fault['ctx']['expected']}"
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The complaint about a key nobody knows, with the nearest one that is known."""
    names = sorted(known)
    if near := difflib.get_close_matches(key, names, n=1, cutoff=0.5):
        return f"{key}: did you mean {near[0]}?"
    return f"{key}: no such key; known are {', '.join(names)}"


def _known_keys(path: KeyPath) -> list[str]:
    model: Any = Document
    for key in path:
        if isinstance(key, str):
            model = bare(model.model_fields[key].annotation)
    return list(model.model_fields)


def _value(values: Any, path: KeyPath) -> Any:
    for key in path:
        values = values[key]
    return values


def _check_printers(document: Document, drivers: Mapping[str, frozenset[str]]) -> Iterable[tuple[KeyPath, str]]:
    seen: dict[str, int] = {}
    for index, printer in enumerate(document.printers):
        at: KeyPath = ("printers", index)
        if (first := seen.setdefault(printer.id, index)) != index:
            yield (*at, "id"), f"the id already belongs to printer number {first + 1}; give each its own"
        if printer.driver not in drivers:
            near = difflib.get_close_matches(printer.driver, drivers, n=1)
            cure = f"did you mean {near[0]}?" if near else f"installed are {', '.join(sorted(drivers)) or 'none'}"
            yield (*at, "driver"), f"there is no driver {printer.driver}; {cure}"
            continue
        options = drivers[printer.driver]
        for key in sorted((printer.model_extra or {}).keys() - options):
            yield (*at, key), unknown_key(key, {*Printer.model_fields, *options})


def _check_stripe(document: Document, ill: set[KeyPath]) -> Iterable[tuple[KeyPath, str]]:
    """`ill`: the keys complained of already; of a key whose file cannot be read nobody says that it is missing."""
    if document.payments.provider != "stripe":
        return
    stripe = document.payments.stripe or Stripe()
    if stripe.api_key is None and ("payments", "stripe", "api_key_file") not in ill:
        yield ("payments", "stripe", "api_key"), "api_key is missing: the provider is stripe"
    if stripe.api_base and not stripe.api_base.startswith(("https://", *LOOPBACK)):
        yield ("payments", "stripe", "api_base"), "api_base: use https://, or the secret key travels in the clear"
    unread = ("payments", "stripe", "webhook_secrets_file") in ill
    if stripe.mode != "poll" and not stripe.webhook_secrets and not unread:
        yield ("payments", "stripe", "webhook_secrets"), 'webhook_secrets is missing (mode = "poll" does without)'


def _settings(document: Document, file: Path) -> Settings:
    directory = file.parent
    slicer = document.slicer
    return Settings(
        directory=directory,
        host=document.server.host,
        port=document.server.port,
        store_url=_store_url(document.store.url, directory),
        files=directory / document.store.files,
        profiles=directory / slicer.profiles if slicer.profiles else shipped_config() / "profiles",
        currency=document.farm.currency,
        lead_days=document.farm.lead_days,
        payment_provider=document.payments.provider,
        stripe=_stripe(document.payments.stripe),
        unpaid_hours=_unpaid_hours(document),
        webhook_allow=tuple(document.webhooks.allow),
        slicer=SlicerSettings(slicer.engine, _command(slicer.command, directory), slicer.workers, slicer.cache_bytes),
        backup=_backup(document, directory),
        shipping_flat=to_minor(document.shipping.flat, document.farm.currency),
        shipping_rules=shipping_rules(document),
        shipping_free_over=free_over(document),
        tax=tax_rule(document),
        tax_zones=tax_zones(document),
        printers=tuple(_printer(printer) for printer in document.printers),
    )


def _stripe(section: Stripe | None) -> StripeSettings | None:
    """The section as settings; without a key there is nobody to speak to."""
    if section is None or section.api_key is None:
        return None
    known = section.model_dump() | {"webhook_secrets": tuple(section.webhook_secrets)}
    return StripeSettings(**known)


def _unpaid_hours(document: Document) -> float | None:
    """Whoever collects by hand may take weeks; a checkout that nobody used for three days is forgotten."""
    given = document.payments.unpaid_hours
    return given if given is not None or document.payments.provider == "manual" else UNPAID_HOURS


def _store_url(url: str, directory: Path) -> str:
    prefix = "sqlite:///"
    return f"{prefix}{directory / url.removeprefix(prefix)}" if url.startswith(prefix) else url


def _backup(document: Document, directory: Path) -> BackupSettings:
    """Where nothing is said, beside the store: its folder is the one that farmd may write to."""
    section = document.backup
    url = _store_url(document.store.url, directory)
    data = Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else directory / document.store.files
    return BackupSettings(directory / section.folder if section.folder else data / "backups", section.every_hours, section.keep)


def _command(command: str, directory: Path) -> str:
    """A bare name is looked up in PATH; anything with a slash is a path beside the file."""
    return str(directory / command) if "/" in command else command


def _printer(printer: Printer) -> PrinterSettings:
    x, y, z = printer.bed
    return PrinterSettings(
        id=printer.id,
        driver=printer.driver,
        options=dict(printer.model_extra or {}),
        bed=(x, y, z),
        nozzle=printer.nozzle,
        material=printer.material,
        color=printer.color,
        profile=printer.profile,
        bed_clear=printer.bed_clear,
        given=frozenset(printer.model_fields_set),
    )
