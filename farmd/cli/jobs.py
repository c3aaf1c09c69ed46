"""`farmd jobs`: what is being made."""

from typing import Annotated

import typer

from farmd.cli.bodies import without_nothing
from farmd.cli.show import card, done, listing
from farmd.cli.talk import ask
from farmd.cli.words import AsJson, Limit, Page, group, in_path

app = group("jobs", "What is being made.")
JobId = Annotated[str, typer.Argument(metavar="JOB", parser=in_path, help="For example job-77b1c0de5a12.")]
COLUMNS = (
    ("job", "id"),
    ("state", "state"),
    ("order", "orderId"),
    ("sku", "skuId"),
    ("units", lambda row: {key: count for key, count in (row.get("units") or {}).items() if count}),
    ("waits for", lambda row: (row.get("waitsFor") or {}).get("code")),
)


@app.command("list", epilog="Example: farmd jobs list --state FAILED")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="For example QUEUED or FAILED.")] = None,
    order: Annotated[str | None, typer.Option(help="Only this order's.")] = None,
    page: Page = 1,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs."""
    listing(ask("GET", "/api/jobs", state=state, orderId=order, page=page, limit=limit), COLUMNS, as_json=as_json)


@app.command(epilog="Example: farmd jobs show job-77b1c0de5a12")
def show(job: JobId, as_json: AsJson = False) -> None:
    """Show one job with its plates, attempts and history."""
    card(ask("GET", f"/api/jobs/{job}"), as_json=as_json)


@app.command(epilog="Example: farmd jobs why job-77b1c0de5a12")
def why(job: JobId, as_json: AsJson = False) -> None:
    """Say why a job is not printing: for each printer the rule that keeps it off."""
    answer = ask("GET", f"/api/jobs/{job}/why")
    if as_json:
        print(answer.text)
        return
    data = answer.data
    print(data.get("summary") or data.get("state"))
    for printer in data.get("printers") or []:
        rules = "; ".join(str(rule.get("detail") or rule.get("rule")) for rule in printer.get("rules") or [])
        print(f"  {printer.get('printerId')}: {rules or 'place ' + str(printer.get('position')) + ' in its queue'}")


@app.command(epilog="Example: farmd jobs retry job-77b1c0de5a12")
def retry(job: JobId, as_json: AsJson = False) -> None:
    """Try a failed job again."""
    _act(job, "retry", {}, as_json=as_json)


@app.command(epilog="Example: farmd jobs cancel job-77b1c0de5a12 --reason 'the model is wrong'")
def cancel(job: JobId, reason: Annotated[str | None, typer.Option(help="Why.")] = None, as_json: AsJson = False) -> None:
    """Give one job up; its order stays."""
    _act(job, "cancel", without_nothing(reason=reason), as_json=as_json)


@app.command(
    "post-process", epilog="Example: farmd jobs post-process job-77b1c0de5a12 --step 'remove supports' --good 3 --scrapped 1"
)
def post_process(
    job: JobId,
    step: Annotated[str, typer.Option(help="The step's name.")],
    good: Annotated[int, typer.Option(min=0, help="Units that passed it.")] = 0,
    scrapped: Annotated[int, typer.Option(min=0, help="Units thrown away; they are printed again.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Record a step of post-processing."""
    _act(job, "post-process", {"step": step, "good": good, "scrapped": scrapped}, as_json=as_json)


@app.command(epilog="Example: farmd jobs resolve att-5d0e92c17ab3 succeeded")
def resolve(
    attempt: Annotated[str, typer.Argument(help="The UNKNOWN attempt's id.")],
    outcome: Annotated[str, typer.Argument(help="succeeded or failed, after looking at the bed.")],
    as_json: AsJson = False,
) -> None:
    """Settle an attempt that nobody can tell the end of."""
    answer = ask("POST", f"/api/attempts/{attempt}/resolve", {"outcome": outcome})
    done(f"{attempt} is {answer.data.get('state')}", answer, as_json=as_json)


def _act(job: str, verb: str, body: dict[str, object], *, as_json: bool) -> None:
    answer = ask("POST", f"/api/jobs/{job}/{verb}", body)
    done(f"{job} is {answer.data.get('state')}", answer, as_json=as_json)
