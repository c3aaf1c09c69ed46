"""The commands that start something or look at everything: `run`, `demo`, `doctor`, `virtual`, `backup`, `restore`.

Only their options stand here. What they do is imported when they are called, because it brings the whole farm with it and
`farmd orders list` shall answer at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from farmd.cli.complaint import Complaint
from farmd.cli.words import AsJson, ConfigFile, settings_of

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: farmd run --config farmd.toml")
def run(config: ConfigFile = None) -> None:
    """Run the daemon: API, pipeline, fleet and events. SIGTERM stops it, prints go on; SIGHUP reads the printers again."""
    settings = settings_of(config)
    from farmd.daemon import CannotStart, serve

    try:
        raise typer.Exit(serve(settings, lambda: settings_of(config)))
    except CannotStart as error:
        raise Complaint(str(error)) from None


@app.command(epilog="Example: farmd demo --speed 600    or, to see whether all of it works: farmd demo --once")
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End when the order is shipped; exit 1 with the reason when it is not.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the API and the dashboard; 0 takes a free one.")] = 8787,
    speed: Annotated[float, typer.Option(min=1, max=100_000, help="Divides the time of every print.")] = 300.0,
    printers: Annotated[int, typer.Option(min=1, max=20, help="How many virtual printers.")] = 2,
    patience: Annotated[float, typer.Option(min=10, help="Seconds until --once gives up.")] = 600.0,
) -> None:
    """Show a whole farm at work: an order placed, paid, sliced, printed, post-processed and shipped on virtual printers."""
    from farmd.cli.demo import Wishes, play

    raise typer.Exit(play(Wishes(once, port, speed, printers, patience)))


@app.command(epilog="Example: farmd doctor --config farmd.toml")
def doctor(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check configuration, store, slicer, payments and every printer step by step; exit 1 when anything failed."""
    from farmd.cli.doctor import examine

    raise typer.Exit(examine(config, as_json=as_json))


@app.command(epilog="Example: farmd backup /media/stick/farm-2026-11-26.tar.gz")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist yet.")], config: ConfigFile = None
) -> None:
    """Write the whole farm into one file, also while the daemon runs: the store, the models, and plates still to be printed."""
    from farmd.cli.backup import make

    make(settings_of(config), file)


@app.command(epilog="Example: farmd restore /media/stick/farm-2026-11-26.tar.gz")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What farmd backup wrote.")], config: ConfigFile = None
) -> None:
    """Make the farm of a backup, where no farm is, and say what to do next. Printers are only trusted again once you looked."""
    from farmd.cli.backup import bring_back

    bring_back(settings_of(config), file)


@app.command(epilog="Example: farmd virtual --octoprint 3 --speed 100 --write printers.toml")
def virtual(
    octoprint: Annotated[int, typer.Option(min=0, max=500, help="How many OctoPrints.")] = 0,
    bambu: Annotated[int, typer.Option(min=0, max=100, help="How many Bambu Lab printers: P1S, X1C and A1 by turns.")] = 0,
    gcode: Annotated[int, typer.Option(min=0, max=500, help="How many serial printers, with Marlin on them.")] = 0,
    speed: Annotated[float, typer.Option(min=0.01, max=100_000, help="Divides the time of every print.")] = 1.0,
    port: Annotated[int, typer.Option(min=0, max=65_000, help="The first OctoPrint's, the others follow; 0: free ones.")] = 0,
    tty_dir: Annotated[Path | None, typer.Option(file_okay=False, exists=True, help="Of the serial ports; else a new one.")] = None,
    material: Annotated[str, typer.Option(help="Loaded in all of them.")] = "PLA",
    color: Annotated[str, typer.Option(help="Loaded in all of them.")] = "#1a1a1a",
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Where their [[printers]] go; else to stdout.")] = None,
) -> None:
    """Start virtual printers and run until SIGTERM. FILE appears when all of them answer."""
    if not octoprint and not bambu and not gcode:
        raise Complaint("say how many printers, for example --octoprint 3")
    from farmd.cli.virtual import Fleet, serve

    serve(Fleet(octoprint, bambu, gcode, speed, port, tty_dir, material, color), write)


@app.command(epilog="Example: farmd stream benchy.gcode --port /dev/ttyUSB0 --baud 115200")
def stream(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The G-code.")],
    port: Annotated[str, typer.Option(metavar="DEV", help="/dev/serial/by-id/..., rfc2217://host:port or socket://host:port")],
    baud: Annotated[int, typer.Option(min=300, max=4_000_000)] = 115_200,
    window: Annotated[int, typer.Option(min=0, max=64, help="Lines that may be on their way; 0 learns it.")] = 0,
    rx_buffer: Annotated[int, typer.Option(min=64, max=65_536, help="The firmware's receive buffer in bytes.")] = 128,
    as_json: AsJson = False,
) -> None:
    """Print one file on a serial printer, without a daemon. Ctrl-C stops it safely: heaters off, head out of the part."""
    from farmd.cli.stream import play

    raise typer.Exit(play(file, {"port": port, "baud": baud, "window": window, "rx_buffer": rx_buffer}, as_json=as_json))
