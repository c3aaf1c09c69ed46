"""How answers look, for the description of the API alone.

Nothing is checked against these shapes while farmd answers: they are turned into JSON Schema when somebody asks for /openapi.json,
and the tests hold the answers to them. A key that is not named here may still come; one that is named is always there.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic cannot read the one of Python 3.11

from farmd.domain.lifecycle import AttemptState, JobState, OrderStatus

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Money = Annotated[float, Field(description="With exactly the decimals of its currency")]
Share = Annotated[float, Field(ge=0, le=1)]
Bag = dict[str, Any]


class Units(TypedDict):
    waiting: int
    printing: int
    printed: int
    good: int
    scrapped: int


class LineItem(TypedDict):
    id: str
    skuId: str
    quantity: int
    unitPrice: Money
    total: Money
    tax: Money
    options: Bag
    jobId: str | None


class JobOfOrder(TypedDict):
    id: str
    lineItemId: str
    state: JobState
    quantity: int
    units: Units
    progress: Share
    etaAt: Moment | None
    attempts: list[str]


class Shipment(TypedDict):
    carrier: str | None
    trackingNumber: str
    at: Moment | None


class Cancellation(TypedDict):
    reason: str | None
    at: Moment | None
    printers: Literal["none", "stopping", "stopped"]
    refund: Literal["none", "pending", "succeeded", "failed"]


class Order(TypedDict):
    id: str
    status: OrderStatus
    customerId: str
    lineItems: list[LineItem]
    subtotal: Money
    shipping: Money
    tax: Money
    total: Money
    currency: str
    taxRate: float
    taxRule: str | None
    taxIncluded: bool
    shippingTax: Money
    shippingMethod: str | None
    paymentStatus: str
    fulfillmentStatus: Literal["unfulfilled", "fulfilled", "shipped", "cancelled"]
    checkoutUrl: str | None
    shippingAddress: Bag | None
    notes: str | None
    jobs: list[JobOfOrder]
    attention: list[Bag]
    authorized: Money
    captured: Money
    refunded: Money
    chargedBack: Money
    hold: str | None
    shipment: Shipment | None
    cancellation: Cancellation | None
    dueAt: Moment | None
    paidAt: Moment | None
    createdAt: Moment
    updatedAt: Moment | None


class Orders(TypedDict):
    data: list[Order]
    page: int | None
    limit: int
    total: int
    totalPages: int
    nextCursor: str | None


class PricedLine(TypedDict):
    skuId: str
    quantity: int
    unitPrice: Money
    total: Money
    tax: Money
    options: Bag


class Quoted(TypedDict):
    lineItems: list[PricedLine]
    subtotal: Money
    shipping: Money
    tax: Money
    total: Money
    currency: str
    taxRate: float
    taxRule: str | None
    taxIncluded: bool
    shippingTax: Money
    shippingMethod: str | None


class Refund(TypedDict):
    id: str
    orderId: str
    amount: Money
    currency: str
    status: str
    cause: str
    lineItemId: str | None
    quantity: int | None
    reason: str | None
    failure: str | Bag | None
    createdAt: Moment
    settledAt: Moment | None


class RefundMade(Refund):
    order: Order


class Refunds(TypedDict):
    data: list[Refund]


class Event(TypedDict):
    type: str
    timestamp: Moment
    data: Bag


class Timeline(TypedDict):
    data: list[Event]


class Events(Timeline):
    nextAfter: int


class Attempt(TypedDict):
    id: str
    printerId: str
    plateId: str
    jobId: str
    orderId: str
    copies: int
    slot: str | None
    state: AttemptState
    startedAt: Moment | None
    endedAt: Moment | None
    reason: str | None
    cancelWanted: bool
    createdAt: Moment


class Estimate(TypedDict):
    seconds: float
    grams: float | None


class Plate(TypedDict):
    id: str
    copies: int
    state: str
    failures: int
    estimate: Estimate | None


class Step(TypedDict):
    step: str
    waiting: int


class JobInList(TypedDict):
    id: str
    orderId: str
    lineItemId: str
    skuId: str
    state: JobState
    quantity: int
    units: Units
    material: str
    color: str
    options: Bag
    plates: list[Plate]
    attempts: list[Attempt]
    postProcess: list[Step]
    estimates: Estimate | None
    progress: Share
    etaAt: Moment | None
    waitsFor: Bag | None
    failure: Bag | None
    dueAt: Moment | None
    createdAt: Moment
    updatedAt: Moment | None


class Job(JobInList):
    history: list[Bag]


class Jobs(TypedDict):
    data: list[JobInList]
    page: int
    limit: int
    total: int
    totalPages: int


class Rule(TypedDict):
    rule: str
    detail: str


class Verdict(TypedDict):
    printerId: str
    rules: list[Rule]
    position: NotRequired[int]


class Reason(TypedDict):
    code: str
    detail: str


class Why(TypedDict):
    jobId: str
    state: JobState
    waitsFor: Reason
    summary: str
    printers: list[Verdict]


class Heat(TypedDict):
    actual: float | None
    target: float | None


class Printer(TypedDict):
    id: str
    driver: str
    phase: str
    bed: Literal["clear", "occupied", "unknown"]
    bedNote: str | None
    enabled: bool
    quarantined: str | None
    temperatures: dict[str, Heat]
    material: str | None
    color: str | None
    spools: list[Bag] | None
    nozzle: float
    buildVolume: list[float]
    profile: str
    attempt: Bag | None
    progress: Share | None
    uploading: Share | None
    question: Bag | None
    lastSeen: Moment | None
    foreign: bool
    file: str | None
    attention: list[Bag]


class Printers(TypedDict):
    data: list[Printer]


class Model(TypedDict):
    sha256: str
    format: str
    bytes: int
    triangles: int
    size: Any
    volumeMm3: float
    warnings: list[Bag]


class StockKeepingUnit(TypedDict):
    id: str
    name: str
    unitPrice: Money
    currency: str
    material: str
    color: str
    options: list[Bag]
    defaultOptions: list[Bag]
    qualityTiers: dict[str, float]
    postProcess: list[str]
    profile: str | None
    active: bool
    weightGrams: int | None
    model: Model | None
    createdAt: Moment
    updatedAt: Moment | None


class Skus(TypedDict):
    data: list[StockKeepingUnit]
    page: int
    limit: int
    total: int
    totalPages: int


class Webhook(TypedDict):
    id: str
    url: str
    events: list[str]
    description: str | None
    headers: dict[str, str]
    active: bool
    disabledReason: str | None
    createdAt: Moment
    secret: NotRequired[str]


class Webhooks(TypedDict):
    data: list[Webhook]


class Delivery(TypedDict):
    id: int
    messageId: str
    sequence: int | None
    type: str
    orderId: str | None
    state: Literal["PENDING", "DELIVERED", "DEAD"]
    tries: int
    status: int | None
    detail: str | None
    tookMs: int | None
    nextAt: Moment | None
    deliveredAt: Moment | None
    createdAt: Moment


class Deliveries(TypedDict):
    data: list[Delivery]
    nextCursor: int | None


class Replayed(TypedDict):
    queued: int
    nextAfter: int | None


class Received(TypedDict):
    received: bool


class Health(TypedDict):
    status: str


_ORDER, _PRINTER, _JOB = "/api/orders/{order_id}", "/api/printers/{printer_id}", "/api/jobs/{job_id}"
_WEBHOOK, _SKU, _ATTEMPT = "/api/webhooks/{webhook_id}", "/api/skus/{sku_id}", "/api/attempts/{attempt_id}"
ANSWERS: dict[str, Any] = {
    "post /api/orders": Order,
    "get /api/orders": Orders,
    "post /api/quotes": Quoted,
    f"get {_ORDER}": Order,
    **{f"post {_ORDER}/{step}": Order for step in ("cancel", "pay", "checkout", "ship", "release")},
    f"get {_ORDER}/events": Timeline,
    f"post {_ORDER}/refunds": RefundMade,
    f"get {_ORDER}/refunds": Refunds,
    "post /api/skus": StockKeepingUnit,
    "get /api/skus": Skus,
    f"get {_SKU}": StockKeepingUnit,
    f"patch {_SKU}": StockKeepingUnit,
    f"put {_SKU}/model": StockKeepingUnit,
    "get /api/jobs": Jobs,
    f"get {_JOB}": Job,
    f"get {_JOB}/why": Why,
    **{f"post {_JOB}/{step}": Job for step in ("retry", "cancel", "post-process")},
    "get /api/printers": Printers,
    f"get {_PRINTER}": Printer,
    f"patch {_PRINTER}": Printer,
    **{f"post {_PRINTER}/{act}": Printer for act in ("clear-bed", "enable", "disable", "pause", "resume", "answer", "cancel")},
    f"get {_ATTEMPT}": Attempt,
    f"post {_ATTEMPT}/resolve": Attempt,
    "post /api/webhooks": Webhook,
    "get /api/webhooks": Webhooks,
    f"get {_WEBHOOK}": Webhook,
    f"patch {_WEBHOOK}": Webhook,
    f"post {_WEBHOOK}/test": Delivery,
    f"get {_WEBHOOK}/deliveries": Deliveries,
    f"post {_WEBHOOK}/deliveries/{{number}}/retry": Delivery,
    f"post {_WEBHOOK}/replay": Replayed,
    "get /api/events": Events,
    "post /webhooks/stripe": Received,
    "get /healthz": Health,
    "get /readyz": Health,
}
"""The body of every 2xx answer that is JSON, by `verb path`."""
