"""What a `[[printers]]` block says about a Bambu printer, checked before anything is built from it.

No field is guessed and no wrong one passed on; the access code is never repeated in an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.bambu.models import MODELS, Model, model_named, models_of_serial

NAMES = frozenset({"host", "serial", "access_code", "model", "mqtt_port", "ftps_port", "tls", "tls_ca", "url"})
TLS = ("pin", "ca", "insecure")
URLS = ("auto", "ftp", "sdcard")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]+(%\w+)?")
_SERIAL = re.compile(r"[0-9A-Za-z]{10,20}")


@dataclass(frozen=True, slots=True)
class Options:
    """One printer's block. `tls`: `pin` trusts the certificate first seen, `ca` those that `tls_ca` signs, `insecure` all."""

    host: str
    serial: str
    access_code: str = field(repr=False)
    model: Model
    mqtt_port: int = 8883
    ftps_port: int = 990
    tls: str = "pin"
    tls_ca: str | None = None
    url: str = "auto"


def read_options(options: Mapping[str, Any]) -> Options:
    """The block as values. Raises `ValueError` naming the key and the cure."""
    host, code = _text(options, "host"), _text(options, "access_code")
    if not _HOST.fullmatch(host):
        raise ValueError("host: write the printer's name or address alone, for example 192.168.1.40 (its screen shows it)")
    serial = _text(options, "serial")
    if not _SERIAL.fullmatch(serial):
        raise ValueError(f"serial: {serial!r} is no serial number; the printer's screen shows it under Settings > Device")
    if not code.isascii() or not code.isprintable() or " " in code:
        raise ValueError(
            "access_code: it holds blanks or characters no code has; the printer's screen shows it under LAN Only Mode"
        )
    tls = _one_of(options, "tls", TLS)
    ca = options.get("tls_ca")
    if ca is not None and not isinstance(ca, str):
        raise ValueError("tls_ca: name the file with the certificates that sign the printers'")
    if (tls == "ca") != bool(ca):
        raise ValueError('tls_ca: name the file of the certificates with tls = "ca", and only then')
    return Options(
        host,
        serial.upper(),
        code,
        read_model(options),
        _port(options, "mqtt_port", 8883),
        _port(options, "ftps_port", 990),
        tls,
        ca or None,
        _one_of(options, "url", URLS),
    )


def read_model(options: Mapping[str, Any]) -> Model:
    """The model as it is named, else as the serial number tells. Raises `ValueError`."""
    word, serial = options.get("model"), options.get("serial")
    known = ", ".join(MODELS)
    told = models_of_serial(serial.upper()) if isinstance(serial, str) else ()
    if word is None:
        if len(told) == 1:
            return told[0]
        raise ValueError(f"model: name the printer's model, one of {known}")
    model = model_named(word) if isinstance(word, str) else None
    if model is None:
        raise ValueError(f"model: {word!r} is not one of {known}")
    if told and model not in told:
        raise ValueError(
            f"model: {model.name} does not go with a serial number that begins with {str(serial)[:3]}: that is a {told[0].name}'s"
        )
    return model


def _text(options: Mapping[str, Any], name: str) -> str:
    value = options.get(name)
    where = {"host": "its address", "serial": "its serial number", "access_code": "its access code (LAN Only Mode)"}
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: write {where[name]} in quotes, as the printer's screen shows it")
    return value.strip()


def _one_of(options: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str:
    value = options.get(name, words[0])
    if value not in words:
        raise ValueError(f"{name}: {value!r} is not one of {', '.join(words)}")
    return str(value)


def _port(options: Mapping[str, Any], name: str, default: int) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65_535:
        raise ValueError(f"{name}: write a port from 1 to 65535, not {value!r}")
    return value
