"""A shop and its operator for tests from outside: they know the HTTP API and nothing else."""

from pathlib import Path
from typing import Any

from tests.daemon_process import DaemonProcess, wait_for

SHAPES = Path("/usr/share/PrusaSlicer/shapes")
ADDRESS = {"name": "Jane Smith", "line1": "123 Main St", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}


class Shop:
    """Sells and operates with an admin key."""

    def __init__(self, farm: DaemonProcess, key: str) -> None:
        self.farm, self.key = farm, key
        self.seen: list[str] = []

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = self.farm.call(method, path, self.key, body, **more)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def sell(self, sku: str, model: bytes, **more: Any) -> None:
        """Put a SKU with its model on the shelf."""
        body = {"id": sku, "name": sku, "unitPrice": 12.50, "material": "PLA", "color": "#1a1a1a"} | more
        self.ok("POST", "/api/skus", body)
        self.ok("PUT", f"/api/skus/{sku}/model", content=model)

    def order(self, **quantities: int) -> str:
        """Place an order of draft-quality parts; returns its id."""
        options = {"color": "#1a1a1a", "quality": "draft", "infill": 0}
        lines = [{"skuId": sku, "quantity": quantity, "options": options} for sku, quantity in quantities.items()]
        order = self.ok("POST", "/api/orders", {"customerId": "cust-1", "lineItems": lines, "shippingAddress": ADDRESS})
        assert order["status"] == "pending_payment"
        return str(order["id"])

    def view(self, order: str) -> dict[str, Any]:
        view = self.ok("GET", f"/api/orders/{order}")
        if not self.seen or self.seen[-1] != view["status"]:
            self.seen.append(view["status"])
        return dict(view)

    def attempts(self, order: str) -> list[dict[str, Any]]:
        jobs = self.view(order)["jobs"]
        return [attempt for job in jobs for attempt in self.ok("GET", f"/api/jobs/{job['id']}")["attempts"]]

    def operate(self) -> None:
        """One round of the operator: empty beds, finish post-processing."""
        for printer in self.ok("GET", "/api/printers")["data"]:
            if printer["bed"] != "clear" and printer["phase"] in ("idle", "finished") and not printer["attempt"]:
                self.farm.call("POST", f"/api/printers/{printer['id']}/clear-bed", self.key, {})
        for job in self.ok("GET", "/api/jobs")["data"]:
            for step in self.ok("GET", f"/api/jobs/{job['id']}").get("postProcess", []):
                if step["waiting"]:
                    done = {"step": step["step"], "good": step["waiting"], "scrapped": 0}
                    self.ok("POST", f"/api/jobs/{job['id']}/post-process", done)

    def until(self, order: str, status: str, seconds: float = 120.0) -> dict[str, Any]:
        """Operate until the order has this status."""

        def look() -> dict[str, Any] | None:
            view = self.view(order)
            if view["status"] == status:
                return view
            self.operate()
            return None

        return dict(wait_for(look, seconds))
