"""Options that several commands share, and the settings they lead to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

if TYPE_CHECKING:
    from farmd.config import Settings

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The configuration; default FARMD_CONFIG or /etc/farmd/farmd.toml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the daemon's own answer instead of a table.")]
Page = Annotated[int, typer.Option(min=1, help="Which page.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="How many to a page.")]


def group(name: str, words: str) -> typer.Typer:
    """A noun with its verbs, as every noun looks."""
    settings: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": False}
    return typer.Typer(name=name, help=words, epilog=f"Example: farmd {name} list", **settings)


def in_path(text: str) -> str:
    """An id as one step of an address: whatever it holds, it leads nowhere else."""
    return quote(text, safe="")


def settings_of(config: Path | None) -> "Settings":
    """The checked configuration. Raises `ConfigError`."""
    # what checks a configuration, and the drivers' libraries, are only loaded by the commands that need them
    from farmd.config_file import load_settings
    from farmd.fleet.drivers import option_names

    return load_settings(config, os.environ, option_names())
