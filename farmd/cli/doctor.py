"""`farmd doctor`: is everything in place, and if not, what is the cure?"""

import asyncio
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farmd.cli.checks import (
    Finding,
    check_backups,
    check_door,
    check_payments,
    check_printer,
    check_profiles,
    check_slicer,
    check_store,
)
from farmd.cli.words import settings_of
from farmd.config import Settings
from farmd.config_error import ConfigError
from farmd.config_file import locate
from farmd.equipment import equipped
from farmd.pipeline.profiles import ProfileError

ROUND = (check_store, check_backups, check_door, check_slicer, check_profiles, check_payments)


def examine(config: Path | None, *, as_json: bool) -> int:
    """Look at everything, print what was found, and return the exit code: 1 when anything failed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the findings say it better
    findings = _findings(config)
    if as_json:
        print(json.dumps({"data": [asdict(finding) for finding in findings]}))
    else:
        _print(findings)
    return int(any(not finding.ok for finding in findings))


def _findings(config: Path | None) -> list[Finding]:
    try:
        settings = settings_of(config)
    except ConfigError as error:
        return [Finding("config", "read", False, problem) for problem in error.problems]
    found = [Finding("config", "read", True, f"{locate(config, os.environ)}: {len(settings.printers)} printers")]
    try:
        settings = equipped(settings)
    except ConfigError as error:
        found += [Finding("config", "printers", False, problem) for problem in error.problems]
    except ProfileError:
        pass  # the round over the profiles says it
    return [*found, *asyncio.run(_make_rounds(settings))]


async def _make_rounds(settings: Settings) -> list[Finding]:
    findings = [finding for check in ROUND async for finding in check(settings)]
    for found in await asyncio.gather(*(check_printer(printer, settings.machines / printer.id) for printer in settings.printers)):
        findings += found
    return findings


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "step", "", "what was found"):
        table.add_column(title, overflow="fold", no_wrap=title != "what was found")
    area = ""
    for finding in findings:
        verdict = Text("ok", style="green") if finding.ok else Text("failed", style="bold red")
        table.add_row(Text("" if finding.area == area else finding.area), Text(finding.step), verdict, Text(finding.detail))
        area = finding.area
    console = Console()
    console.print(table)
    failed = sum(not finding.ok for finding in findings)
    console.print(f"\n{failed} of {len(findings)} steps failed" if failed else f"\nall {len(findings)} steps are in order")
