"""`farmd skus`: what can be bought, and the model each is printed from."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from farmd.cli.bodies import read_body, without_nothing
from farmd.cli.complaint import Complaint
from farmd.cli.show import card, done, listing
from farmd.cli.talk import Answer, ask, send_file
from farmd.cli.words import AsJson, group

app = group("skus", "What can be bought.")
SkuId = Annotated[str, typer.Argument(metavar="SKU", help="For example sku-pla-black-20mm-cube.")]
COLUMNS = (
    ("sku", "id"),
    ("name", "name"),
    ("price", "unitPrice"),
    ("material", lambda row: f"{row.get('material')} {row.get('color')}"),
    ("model", lambda row: ((row.get("model") or {}).get("sha256") or "none")[:12]),
    ("active", "active"),
)


@app.command("list", epilog="Example: farmd skus list")
def list_skus(as_json: AsJson = False) -> None:
    """List the catalog."""
    listing(ask("GET", "/api/skus"), COLUMNS, as_json=as_json)


@app.command(epilog="Example: farmd skus show sku-pla-black-20mm-cube")
def show(sku: SkuId, as_json: AsJson = False) -> None:
    """Show one SKU with its options and model."""
    card(ask("GET", f"/api/skus/{quote(sku, safe='')}"), as_json=as_json)


@app.command(
    epilog="Example: farmd skus create config/catalog/cube.toml    or: farmd skus create --id sku-cube --name 'Cube 20 mm' "
    "--price 12.50 --material PLA --color '#1a1a1a' --model cube.stl"
)
def create(
    file: Annotated[Path | None, typer.Argument(help="The SKU as TOML or JSON; its `model` names a file beside it.")] = None,
    sku: Annotated[str | None, typer.Option("--id")] = None,
    name: Annotated[str | None, typer.Option()] = None,
    price: Annotated[float | None, typer.Option(help="Of one unit, in the farm's currency.")] = None,
    material: Annotated[str | None, typer.Option(help="For example PLA.")] = None,
    color: Annotated[str | None, typer.Option(help="As #rrggbb.")] = None,
    post_process: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="A step after printing; may be given again.")
    ] = None,
    weight: Annotated[int | None, typer.Option(min=0, metavar="GRAMS", help="Of one piece as it is sent.")] = None,
    model: Annotated[Path | None, typer.Option(help="The STL or 3MF it is printed from.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put a SKU into the catalog, with its model when one is named."""
    if file is not None:
        body = read_body(file)
        if isinstance(named := body.pop("model", None), str) and model is None:
            model = file.parent / named
    else:
        made = without_nothing(material=material, color=color, postProcess=post_process)
        body = without_nothing(id=sku, name=name, unitPrice=price, weightGrams=weight) | made
        if not body:
            raise Complaint("give a FILE, or --id, --name, --price, --material and --color")
    answer = ask("POST", "/api/skus", body)
    created = str(answer.data.get("id"))
    if model is not None:
        answer = upload(created, model, quiet=as_json)
    done(f"{created} is in the catalog{'' if model else '; give it a model with `farmd skus model`'}", answer, as_json=as_json)


@app.command(epilog="Example: farmd skus model sku-pla-black-20mm-cube cube.stl")
def model(
    sku: SkuId,
    file: Annotated[Path, typer.Argument(help="STL or 3MF, told by its bytes.")],
    as_json: AsJson = False,
) -> None:
    """Give a SKU the model it is printed from; every defect of a bad one is told."""
    answer = upload(sku, file, quiet=as_json)
    found = answer.data.get("model") or {}
    done(f"{sku} is printed from {file.name}: {found.get('triangles')} triangles", answer, as_json=as_json)


def upload(sku: str, file: Path, *, quiet: bool) -> Answer:
    """Send the model, with a bar on a terminal's stderr unless `quiet`."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    try:
        size = file.stat().st_size
    except OSError as error:
        raise Complaint(f"cannot read {file}: {error.strerror}") from None
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
    with bar:
        task = bar.add_task(file.name, total=size)

        def advance(count: int) -> None:
            bar.advance(task, count)
            if bar.tasks[0].finished:
                bar.update(task, description=f"{file.name}: checking")

        return send_file(f"/api/skus/{quote(sku, safe='')}/model", file, advance)
