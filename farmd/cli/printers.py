"""`farmd printers`: the machines and their beds."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from farmd.cli.bodies import without_nothing
from farmd.cli.complaint import Complaint
from farmd.cli.show import card, done, listing
from farmd.cli.talk import ask
from farmd.cli.words import AsJson, group, in_path

app = group("printers", "The machines and their beds.")
PrinterId = Annotated[str, typer.Argument(metavar="PRINTER", parser=in_path, help="Its id in farmd.toml, for example mk3-01.")]


def _filament(holder: Mapping[str, Any]) -> str:
    return f"{holder.get('material') or '-'} {holder.get('color') or ''}"


COLUMNS = (
    ("printer", "id"),
    ("phase", "phase"),
    ("bed", "bed"),
    ("enabled", "enabled"),
    ("material", lambda row: [_filament(each) for each in row.get("spools") or [row]]),
    ("progress", lambda row: None if row.get("progress") is None else f"{float(row['progress']):.0%}"),
    ("order", lambda row: (row.get("attempt") or {}).get("orderId")),
    ("attention", lambda row: [item.get("detail") or item.get("code") for item in row.get("attention") or []]),
)


@app.command("list", epilog="Example: farmd printers list")
def list_printers(as_json: AsJson = False) -> None:
    """List printers with what they do."""
    listing(ask("GET", "/api/printers"), COLUMNS, as_json=as_json)


@app.command(epilog="Example: farmd printers discover >> farmd.toml")
def discover(
    ports: Annotated[
        list[str] | None, typer.Argument(metavar="[PORT]...", help="Only these; else serial ports and network.")
    ] = None,
) -> None:
    """Look for printers on this host's serial ports and in its network (Bambu Lab), and propose their [[printers]] blocks. Opening
    a port restarts some boards."""
    import asyncio

    async def look() -> tuple[int, str]:
        serial = asyncio.create_task(_on_serial_ports(ports or ()))
        network = asyncio.create_task(_in_the_network()) if not ports else None
        return await serial + (await network if network is not None else 0), " or network" if network is not None else ""

    count, where = asyncio.run(look())
    if not count:
        raise Complaint(f"no printer was found on a serial port{where}: are they switched on and connected?")


async def _on_serial_ports(ports: Sequence[str]) -> int:
    from farmd.fleet.serial_lines import discover as look
    from farmd.fleet.serial_lines import printer_block

    found = await look(ports)
    answering = [each for each in found if each.firmware]
    for number, each in enumerate(answering, 1):
        print(printer_block(each, number))
    for each in found:
        if not each.firmware:
            print(f"{each.port} {each.what}: {each.words}", file=sys.stderr)
    return len(answering)


async def _in_the_network() -> int:
    from farmd.fleet.lan_printers import discover as listen
    from farmd.fleet.lan_printers import lan_block

    try:
        found = await listen()
    except OSError as error:
        print(f"UDP port 2021 cannot be listened on ({error.strerror}), so no Bambu printer is heard", file=sys.stderr)
        return 0
    for number, each in enumerate(found, 1):
        print(lan_block(each, number))
    return len(found)


@app.command(epilog="Example: farmd printers show mk3-01")
def show(printer: PrinterId, as_json: AsJson = False) -> None:
    """Show one printer."""
    card(ask("GET", f"/api/printers/{printer}"), as_json=as_json)


@app.command("clear-bed", epilog="Example: farmd printers clear-bed mk3-01")
def clear_bed(printer: PrinterId, as_json: AsJson = False) -> None:
    """State that the bed is empty: you looked, or you took the part off."""
    _act(printer, "clear-bed", as_json=as_json)


@app.command(epilog="Example: farmd printers pause mk3-01")
def pause(printer: PrinterId, as_json: AsJson = False) -> None:
    """Hold the running print."""
    _act(printer, "pause", as_json=as_json)


@app.command(epilog="Example: farmd printers resume mk3-01")
def resume(printer: PrinterId, as_json: AsJson = False) -> None:
    """Go on with a held print."""
    _act(printer, "resume", as_json=as_json)


@app.command("answer", epilog="Example: farmd printers answer mk3-01 1")
def give_answer(
    printer: PrinterId,
    choice: Annotated[int, typer.Argument(min=0, help="The number of the choice, as the printer's question lists them.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Answer what the printer asks in the middle of a print."""
    _act(printer, "answer", {"choice": choice}, as_json=as_json)


@app.command(epilog="Example: farmd printers cancel mk3-01")
def cancel(printer: PrinterId, as_json: AsJson = False) -> None:
    """Stop the running print; its parts are printed again."""
    _act(printer, "cancel", as_json=as_json)


@app.command(epilog="Example: farmd printers enable mk3-01")
def enable(printer: PrinterId, as_json: AsJson = False) -> None:
    """Let the printer take work again."""
    _act(printer, "enable", as_json=as_json)


@app.command(epilog="Example: farmd printers disable mk3-01")
def disable(printer: PrinterId, as_json: AsJson = False) -> None:
    """Give the printer no new work; a running print goes on."""
    _act(printer, "disable", as_json=as_json)


@app.command(epilog="Example: farmd printers load mk3-01 --material PETG --color '#1a1a1a'")
def load(
    printer: PrinterId,
    material: Annotated[str | None, typer.Option(help="For example PLA.")] = None,
    color: Annotated[str | None, typer.Option(help="As #rrggbb.")] = None,
    as_json: AsJson = False,
) -> None:
    """State which filament is in the printer now."""
    body = without_nothing(material=material, color=color)
    if not body:
        raise Complaint("give --material, --color or both")
    answer = ask("PATCH", f"/api/printers/{printer}", body)
    done(f"{printer} holds {answer.data.get('material')} {answer.data.get('color')}", answer, as_json=as_json)


def _act(printer: str, verb: str, body: dict[str, int] | None = None, *, as_json: bool) -> None:
    answer = ask("POST", f"/api/printers/{printer}/{verb}", body or {})
    data = answer.data
    state = "" if data.get("enabled", True) else ", disabled"
    done(f"{printer}: {data.get('phase')}, bed {data.get('bed')}{state}", answer, as_json=as_json)
