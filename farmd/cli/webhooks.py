"""`farmd webhooks`: who is told what happens."""

from typing import Annotated

import typer

from farmd.cli.bodies import without_nothing
from farmd.cli.show import card, done, listing
from farmd.cli.talk import ask
from farmd.cli.words import AsJson, group, in_path

app = group("webhooks", "Who is told what happens.")
WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", parser=in_path, help="For example wh-19af03c2.")]


@app.command("list", epilog="Example: farmd webhooks list")
def list_webhooks(as_json: AsJson = False) -> None:
    """List subscriptions."""
    columns = (("webhook", "id"), ("url", "url"), ("events", "events"), ("active", "active"), ("why not", "disabledReason"))
    listing(ask("GET", "/api/webhooks"), columns, as_json=as_json)


@app.command(epilog="Example: farmd webhooks show wh-19af03c2")
def show(webhook: WebhookId, as_json: AsJson = False) -> None:
    """Show one subscription."""
    card(ask("GET", f"/api/webhooks/{webhook}"), as_json=as_json)


@app.command(epilog="Example: farmd webhooks create https://n8n.local/webhook/orders --event order.paid --event order.shipped")
def create(
    url: Annotated[str, typer.Argument(help="Where events are posted.")],
    event: Annotated[list[str] | None, typer.Option(help="May be given again; all events when left out.")] = None,
    description: Annotated[str | None, typer.Option()] = None,
    as_json: AsJson = False,
) -> None:
    """Subscribe; prints the id and, once, the secret that signs what is sent."""
    body = without_nothing(url=url, events=event or ["*"], description=description)
    answer = ask("POST", "/api/webhooks", body)
    secret = answer.data.get("secret")
    done(f"{answer.data.get('id')}{f'  {secret}' if secret else ''}", answer, as_json=as_json)


@app.command(epilog="Example: farmd webhooks delete wh-19af03c2")
def delete(webhook: WebhookId, as_json: AsJson = False) -> None:
    """End a subscription."""
    done(f"{webhook} is deleted", ask("DELETE", f"/api/webhooks/{webhook}"), as_json=as_json)


@app.command("test", epilog="Example: farmd webhooks test wh-19af03c2")
def send_test(webhook: WebhookId, as_json: AsJson = False) -> None:
    """Send a test event."""
    done(
        "a test event is on its way; see `farmd webhooks deliveries`",
        ask("POST", f"/api/webhooks/{webhook}/test", {}),
        as_json=as_json,
    )


@app.command(epilog="Example: farmd webhooks deliveries wh-19af03c2")
def deliveries(webhook: WebhookId, as_json: AsJson = False) -> None:
    """Show what was sent, and how it was taken."""
    columns = (
        ("delivery", "id"),
        ("event", "type"),
        ("state", "state"),
        ("tries", "tries"),
        ("answer", "status"),
        ("detail", "detail"),
    )
    listing(ask("GET", f"/api/webhooks/{webhook}/deliveries"), columns, as_json=as_json)


@app.command(epilog="Example: farmd webhooks replay wh-19af03c2 --after 1200")
def replay(
    webhook: WebhookId,
    after: Annotated[int, typer.Option(min=0, help="Everything after this sequence number of the feed.")],
    as_json: AsJson = False,
) -> None:
    """Send past events again."""
    answer = ask("POST", f"/api/webhooks/{webhook}/replay", {"after": after})
    done(f"{answer.data.get('queued')} events after {after} are on their way again", answer, as_json=as_json)
