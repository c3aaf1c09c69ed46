"""Which printers print nothing but files made for their model, and whether the profiles can make them: asked once, when a
configuration is taken over.

A driver knows the model of its machines, a profile the model it makes files for; here the two meet. What a printer's block leaves
out follows from its model. Nothing is taken over of a configuration in which they contradict each other.
"""

from collections.abc import Callable
from dataclasses import replace

from farmd.config import PrinterSettings, Settings
from farmd.config_error import ConfigError
from farmd.domain.machines import MACHINES, Machine, machine_named
from farmd.fleet.drivers import machine_of
from farmd.pipeline.profiles import Profiles, load_profiles


def equipped(settings: Settings, model: Callable[[PrinterSettings], str | None] = machine_of) -> Settings:
    """The same settings, each printer with the model its files must be made for, and with the profile and the bed of that model
    where its block names none. `model` tells what a printer's driver says. Raises `ConfigError` with every printer that cannot be
    served, `ProfileError`."""
    if not settings.printers:
        return settings
    profiles = load_profiles(settings.profiles)
    printers: list[PrinterSettings] = []
    problems: list[str] = []
    for printer in settings.printers:
        try:
            printers.append(_equipped(printer, model(printer), profiles))
        except ValueError as error:
            problems.append(f"[[printers]] {printer.id}: {error}")
    if problems:
        raise ConfigError(problems)
    return replace(settings, printers=tuple(printers))


def _equipped(printer: PrinterSettings, word: str | None, profiles: Profiles) -> PrinterSettings:
    made = profiles.models.get(printer.profile, ())
    if word is None:
        if made:
            titles = " or a ".join(machine.title for machine in made)
            raise ValueError(
                f"profile: {printer.profile} makes files for a {titles} alone, and this printer takes plain G-code; "
                f"use {_others(profiles)}"
            )
        return printer
    machine = machine_named(word)
    if machine is None:
        raise ValueError(f"model: farmd cannot make files for a {word} yet; it can for {', '.join(MACHINES)}")
    profile = printer.profile
    if "profile" not in printer.given or machine not in made:
        profile = _profile(printer, machine, profiles)
    bed = printer.bed if "bed" in printer.given else (machine.bed.x, machine.bed.y, machine.bed.z)
    return replace(printer, profile=profile, bed=bed, machine=machine.name)


def _profile(printer: PrinterSettings, machine: Machine, profiles: Profiles) -> str:
    """The profile of this model, unless another one was asked for."""
    fitting, nozzle = profiles.profile_for(machine, printer.nozzle), f"{printer.nozzle:g}"
    cure = f"set farmd_machine = {machine.name} and nozzle_diameter = {nozzle} in a copy of a bambu profile, see [slicer] profiles"
    if "profile" in printer.given:
        cure = f"use {fitting}, or leave it out" if fitting else cure
        raise ValueError(f"profile: {printer.profile} does not make files for a {machine.title}; {cure}")
    if fitting is None:
        raise ValueError(f"profile: there is none for a {machine.title} with a {nozzle} mm nozzle; {cure}")
    return fitting


def _others(profiles: Profiles) -> str:
    return " or ".join(sorted(profiles.machines.keys() - profiles.models.keys())) or "another one"
