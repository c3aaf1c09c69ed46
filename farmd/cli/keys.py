"""`farmd keys`: who may speak to the daemon.

Works on the store itself, so that the first key needs no key; also while the daemon runs.
"""

import json
from enum import StrEnum
from typing import Annotated

import typer

from farmd.cli.complaint import Complaint
from farmd.cli.words import AsJson, ConfigFile, group, settings_of

app = group("keys", "Who may speak to the daemon.")
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="What you call the key.")]


class Role(StrEnum):
    admin = "admin"
    operator = "operator"
    customer = "customer"


@app.command(epilog="Example: export FARMD_API_KEY=$(farmd keys create office --role admin)")
def create(
    name: KeyName,
    role: Annotated[Role, typer.Option(help="admin: all. operator: the shop floor. customer: own orders.")],
    customer: Annotated[str | None, typer.Option(metavar="ID", help="Whose key a customer's key is.")] = None,
    config: ConfigFile = None,
) -> None:
    """Make a key and print it, alone and once; it cannot be shown again."""
    from farmd.cli.key_store import make_key

    if role is Role.customer and customer is None:
        raise Complaint("a customer's key needs the customer's id: give --customer ID")
    print(make_key(settings_of(config), name, role, customer))


@app.command("list", epilog="Example: farmd keys list")
def list_all(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    from farmd.cli.key_store import all_keys

    rows = all_keys(settings_of(config))
    shown = [{key: str(value) if value is not None else None for key, value in row.items()} for row in rows]
    if as_json:
        print(json.dumps({"data": shown}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "role", "customer", "made", "last used", box=None, pad_edge=False, header_style="dim")
    for row in shown:
        table.add_row(*(row[key] or "-" for key in ("name", "role", "customer_id", "created_at", "last_used_at")))
    Console().print(table)


@app.command(epilog="Example: farmd keys revoke office")
def revoke(name: KeyName, config: ConfigFile = None) -> None:
    """End a key; a running daemon refuses it at once."""
    from farmd.cli.key_store import revoke_key

    revoke_key(settings_of(config), name)
    print(f"the key {name} is revoked")
