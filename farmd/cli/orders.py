"""`farmd orders`: what customers bought."""

from pathlib import Path
from typing import Annotated, Any

import typer

from farmd.cli.bodies import pairs, read_body, without_nothing
from farmd.cli.complaint import Complaint
from farmd.cli.show import card, done, listing
from farmd.cli.talk import Answer, ask
from farmd.cli.words import AsJson, Limit, Page, group, in_path

app = group("orders", "What customers bought.")
OrderId = Annotated[str, typer.Argument(metavar="ORDER", parser=in_path, help="For example ord-3f9c21b0a7d4.")]
Text = Annotated[str | None, typer.Option()]
COLUMNS = (
    ("order", "id"),
    ("status", "status"),
    ("payment", "paymentStatus"),
    ("customer", "customerId"),
    ("total", lambda row: f"{row['total']} {row.get('currency', '')}"),
    ("placed", "createdAt"),
    ("attention", lambda row: [item.get("code") for item in row.get("attention") or []]),
)


@app.command("list", epilog="Example: farmd orders list --status printing,ready --limit 50")
def list_orders(
    status: Annotated[str | None, typer.Option(help="One or more of the nine words, with commas.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    page: Page = 1,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List orders, newest first."""
    listing(ask("GET", "/api/orders", status=status, customerId=customer, page=page, limit=limit), COLUMNS, as_json=as_json)


@app.command(epilog="Example: farmd orders show ord-3f9c21b0a7d4")
def show(order: OrderId, as_json: AsJson = False) -> None:
    """Show one order with its lines and jobs."""
    card(ask("GET", f"/api/orders/{order}"), as_json=as_json)


@app.command(
    epilog="Example: farmd orders create --customer cust-1 --item sku-pla-black-20mm-cube=3 --option infill=20 "
    "--name 'Jane Smith' --line1 '123 Main St' --city Portland --state OR --zip 97201 --country US"
)
def create(
    file: Annotated[Path | None, typer.Argument(help="The order as JSON, - for standard input; then give no options.")] = None,
    customer: Text = None,
    item: Annotated[list[str] | None, typer.Option(metavar="SKU=QUANTITY", help="A line item; may be given again.")] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="For every line; may be given again.")] = None,
    name: Text = None,
    line1: Text = None,
    line2: Text = None,
    city: Text = None,
    state: Text = None,
    zip_code: Annotated[str | None, typer.Option("--zip")] = None,
    country: Text = None,
    notes: Text = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="The same key never places a second order.")] = None,
    as_json: AsJson = False,
) -> None:
    """Place an order; prints its id."""
    if file is not None:
        body = read_body(file)
    elif customer and item:
        address = without_nothing(name=name, line1=line1, line2=line2, city=city, state=state, zip=zip_code, country=country)
        lines = _lines(item, pairs(option or [], "--option"))
        body = without_nothing(customerId=customer, lineItems=lines, shippingAddress=address or None, notes=notes)
    else:
        raise Complaint("give a FILE, or --customer and at least one --item SKU=QUANTITY")
    answer = ask("POST", "/api/orders", body, headers={"Idempotency-Key": key} if key else None)
    done(answer.data.get("id", ""), answer, as_json=as_json)


def _lines(items: list[str], options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"skuId": sku, "quantity": quantity} | ({"options": options} if options else {})
        for sku, quantity in pairs(items, "--item").items()
    ]


@app.command(epilog="Example: farmd orders pay ord-3f9c21b0a7d4 --reference 'bank transfer 118'")
def pay(order: OrderId, reference: Text = None, as_json: AsJson = False) -> None:
    """State that the money has arrived (manual payments)."""
    _act(order, "pay", without_nothing(reference=reference), as_json=as_json)


@app.command(epilog="Example: farmd orders cancel ord-3f9c21b0a7d4 --reason 'customer changed their mind'")
def cancel(order: OrderId, reason: Text = None, as_json: AsJson = False) -> None:
    """Cancel an order: its prints are stopped and its money goes back."""
    answer = ask("POST", f"/api/orders/{order}/cancel", without_nothing(reason=reason))
    cancellation = answer.data.get("cancellation") or {}
    words = f"printers: {cancellation.get('printers')}, refund: {cancellation.get('refund')}"
    done(f"{order} is cancelled; {words}", answer, as_json=as_json)


@app.command(epilog="Example: farmd orders checkout ord-3f9c21b0a7d4")
def checkout(order: OrderId, as_json: AsJson = False) -> None:
    """Open a new place to pay, when the last one expired; prints its address."""
    answer = ask("POST", f"/api/orders/{order}/checkout", {})
    done(answer.data.get("checkoutUrl") or f"{order} will have its checkout as soon as Stripe answers", answer, as_json=as_json)


@app.command(epilog="Example: farmd orders release ord-3f9c21b0a7d4")
def release(order: OrderId, as_json: AsJson = False) -> None:
    """Make and ship an order although its payment is disputed."""
    _act(order, "release", {}, as_json=as_json)


@app.command(epilog="Example: farmd orders ship ord-3f9c21b0a7d4 --carrier UPS --tracking 1Z999AA10123456784")
def ship(
    order: OrderId,
    carrier: Annotated[str, typer.Option(help="Who carries it.")],
    tracking: Annotated[str, typer.Option(help="The tracking number.")],
    as_json: AsJson = False,
) -> None:
    """Hand a ready order to the carrier."""
    _act(order, "ship", {"carrier": carrier, "trackingNumber": tracking}, as_json=as_json)


@app.command(epilog="Example: farmd orders refund ord-3f9c21b0a7d4 --amount 12.50 --reason 'one part was scratched'")
def refund(
    order: OrderId,
    reason: Annotated[str, typer.Option(help="Why.")],
    amount: Annotated[str | None, typer.Option(help="In the order's currency; everything when left out.")] = None,
    line_item: Annotated[str | None, typer.Option(help="The share of this line.")] = None,
    quantity: Annotated[int | None, typer.Option(min=1, help="Of so many of its units.")] = None,
    by_hand: Annotated[bool, typer.Option("--by-hand", help="It was given back already, in another way.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give money back, in part or in full."""
    body = without_nothing(reason=reason, lineItemId=line_item, quantity=quantity) | ({"byHand": True} if by_hand else {})
    if amount is not None:
        body |= {"amount": _amount(amount)}
    answer = ask("POST", f"/api/orders/{order}/refunds", body)
    done(f"the refund is {str(answer.data.get('status', 'taken')).lower()}", answer, as_json=as_json)


def _amount(text: str) -> float | int:
    value = pairs([f"amount={text}"], "--amount")["amount"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Complaint(f"--amount must be a number such as 12.50, not {text!r}")
    return value


@app.command(epilog="Example: farmd orders events ord-3f9c21b0a7d4")
def events(order: OrderId, as_json: AsJson = False) -> None:
    """Show what happened to an order, oldest first."""
    columns = (
        ("when", "timestamp"),
        ("event", "type"),
        ("sequence", lambda row: (row.get("data") or {}).get("sequence")),
    )
    listing(ask("GET", f"/api/orders/{order}/events"), columns, as_json=as_json)


def _act(order: str, verb: str, body: dict[str, Any], *, as_json: bool) -> None:
    answer: Answer = ask("POST", f"/api/orders/{order}/{verb}", body)
    done(f"{order} is {answer.data.get('status')}", answer, as_json=as_json)
