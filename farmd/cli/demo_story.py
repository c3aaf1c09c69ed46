"""What happens in the demo: the shop fills its catalog, a customer orders, an operator does the clicks a person does.

Everything goes over HTTP with the calls a shop would make; nothing here reaches into the farm.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from farmd.cli.bodies import read_body
from farmd.shipped import shipped_config

AT_REST = ("idle", "finished")
ADDRESS = {"name": "Jane Smith", "line1": "123 Main St", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}
BASKET = (("sku-pla-black-20mm-cube", 3), ("sku-pla-black-key-tag", 2))


class WentWrong(Exception):
    """Why the order will not be shipped."""


class Story:
    """The farm as last seen, and the hands that move it on. `tell` hears of every event and every act, in order."""

    def __init__(self, client: httpx.AsyncClient, tell: Callable[[str, str], None]) -> None:
        self.order: dict[str, Any] = {}
        self.jobs: list[dict[str, Any]] = []
        self.printers: list[dict[str, Any]] = []
        self._client = client
        self._tell = tell
        self._heard = 0

    async def begin(self) -> None:
        """Catalog, empty beds, an order, its payment."""
        for file in sorted((shipped_config() / "catalog").glob("*.toml")):
            await self._offer(file)
        await self.look()
        await self._clear_beds()
        lines = [{"skuId": sku, "quantity": quantity, "options": {"quality": "draft"}} for sku, quantity in BASKET]
        body = {"customerId": "cust-demo", "lineItems": lines, "shippingAddress": ADDRESS, "notes": "Urgent - needed by Friday"}
        self.order = await self._call("POST", "/api/orders", body)
        self._tell("customer", f"orders {self.order['id']} for {self.order['total']} {self.order['currency']}")
        await self._call("POST", f"/api/orders/{self.order['id']}/pay", {"reference": "demo"})
        self._tell("owner", "sees the money arrive")

    async def look(self) -> None:
        """Read the farm anew and tell its new events."""
        self.printers = (await self._call("GET", "/api/printers"))["data"]
        if self.order:
            self.order = await self._call("GET", f"/api/orders/{self.order['id']}")
            self.jobs = (await self._call("GET", f"/api/jobs?orderId={self.order['id']}"))["data"]
        events = await self._call("GET", f"/api/events?after={self._heard}&limit=1000")
        for event in events["data"]:
            self._heard = event["data"]["sequence"]
            self._tell("event", f"{event['type']} {_subject(event['data'])}")

    async def act(self) -> bool:
        """Do what a person would do now; True once the order is shipped. Raises `WentWrong`."""
        if self.order["status"] == "shipped":
            return True
        if self.order["status"] in ("cancelled", "refunded"):
            raise WentWrong(f"the order is {self.order['status']}")
        for job in self.jobs:
            if job["state"] == "FAILED":
                failure = job.get("failure") or {}
                raise WentWrong(f"the job of {job['skuId']} failed: {failure.get('detail') or failure}")
            for step in job["postProcess"]:
                if step["waiting"]:
                    done = {"step": step["step"], "good": step["waiting"], "scrapped": 0}
                    await self._call("POST", f"/api/jobs/{job['id']}/post-process", done)
                    self._tell("operator", f"{step['step']}: {step['waiting']} of {job['skuId']} are good")
        await self._clear_beds()
        if self.order["status"] == "ready":
            await self._call(
                "POST", f"/api/orders/{self.order['id']}/ship", {"carrier": "UPS", "trackingNumber": "1Z999AA10123456784"}
            )
            self._tell("operator", "hands the parcel to UPS")
        return False

    async def where_it_stands(self) -> str:
        """One sentence for an order that does not get there, with the farm's own word on each job that is not ready."""
        stuck = []
        for job in self.jobs:
            if job["state"] != "READY":
                why = await self._call("GET", f"/api/jobs/{job['id']}/why")
                stuck.append(f"{job['skuId']} is {job['state']}: {why.get('summary')}")
        return f"the order is {self.order.get('status', 'not placed')}; {'; '.join(stuck) or 'no job is held up'}"

    async def _offer(self, file: Path) -> None:
        body = read_body(file)
        model = file.parent / body.pop("model")
        sku = await self._call("POST", "/api/skus", body)
        await self._call("PUT", f"/api/skus/{sku['id']}/model", model.read_bytes())
        self._tell("owner", f"offers {sku['name']}, printed from {model.name}")

    async def _clear_beds(self) -> None:
        for printer in self.printers:
            if printer["bed"] != "clear" and printer["phase"] in AT_REST and not printer.get("attempt"):
                await self._call("POST", f"/api/printers/{printer['id']}/clear-bed", {})
                self._tell("operator", f"sees that the bed of {printer['id']} is empty")

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        sent = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        try:
            response = await self._client.request(method, path, **sent)
        except httpx.HTTPError as error:
            raise WentWrong(f"{method} {path}: {type(error).__name__} {error}") from None
        if response.status_code == 409:
            return {}  # the farm moved on between our look and our click; the next look tells
        if not response.is_success:
            raise WentWrong(f"{method} {path} was answered {response.status_code}: {response.text[:300]}")
        return response.json() if response.content else {}


def _subject(data: Mapping[str, Any]) -> str:
    return " ".join(str(data[key]) for key in ("jobId", "printerId", "orderId") if data.get(key))
