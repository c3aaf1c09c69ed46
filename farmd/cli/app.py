"""The table of commands."""

import typer

from farmd.cli import farm, jobs, keys, orders, printers, skus, webhooks

app = typer.Typer(
    name="farmd",
    help="Print-farm controller: a paid order becomes shipped parts.",
    epilog="Example: farmd demo (and for the options of a command: farmd orders create --help)",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)


@app.callback()
def root(context: typer.Context) -> None:
    """Without a command, tell which there are."""
    if context.invoked_subcommand is None:
        print(context.get_help())


for group in (farm, keys, orders, jobs, printers, skus, webhooks):
    app.add_typer(group.app)
