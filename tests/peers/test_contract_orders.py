"""The order API as a shop knows it, to the letter: keys, JSON types, decimals, status words, pages, and every refusal."""

import json
import re
from decimal import Decimal

import pytest

from tests.peers.contract_farm import CUBE, CUSTOMER, refused, running_farm

pytestmark = pytest.mark.slow

PLACED = {
    "customerId": CUSTOMER,
    "lineItems": [
        {"skuId": CUBE["id"], "quantity": 3, "options": {"color": "#1a1a1a", "quality": "standard", "infill": 20}},
    ],
    "shippingAddress": {
        "name": "Jane Smith",
        "line1": "123 Main St",
        "city": "Portland",
        "state": "OR",
        "zip": "97201",
        "country": "US",
    },
    "notes": "Urgent — needed by Friday",
}
WORDS = ["pending_payment", "paid", "processing", "printing", "post_processing", "ready", "shipped", "cancelled", "refunded"]


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    more = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'
    with running_farm(tmp_path_factory.mktemp("farm"), more=more, roles=("admin", "customer")) as running:
        running.ok("POST", "/api/skus", CUBE)
        running.ok("POST", "/api/skus", CUBE | {"id": "gone", "active": False})
        yield running


def place(farm, role="admin", **changes):
    return farm.ask("POST", "/api/orders", PLACED | changes, role)


def new(farm, **changes):
    answer = place(farm, **changes)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


# --- placing ---


def test_the_documented_request_gives_the_documented_answer(farm):
    answer = place(farm)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    order = json.loads(answer.text, parse_float=Decimal)
    documented = ["id", "status", "customerId", "lineItems", "subtotal", "shipping", "tax", "total", "createdAt"]
    assert [key for key in order if key in documented] == documented
    assert order["status"] == "pending_payment"
    assert order["id"].startswith("ord-")
    line = order["lineItems"][0]
    assert {"id", "skuId", "quantity", "unitPrice", "total"} <= set(line)
    assert line["id"].startswith("li-")
    assert (line["skuId"], line["quantity"], type(line["quantity"])) == (CUBE["id"], 3, int)
    written = [f'"{key}":{value}' for key, value in (("unitPrice", "12.50"), ("total", "37.50"), ("subtotal", "37.50"))]
    for text in [*written, '"shipping":8.00', '"tax":3.76', '"total":49.26']:
        assert text in answer.text
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", order["createdAt"])
    assert order["notes"] == PLACED["notes"]
    assert order["shippingAddress"] == PLACED["shippingAddress"]


def test_beside_the_documented_keys_stand_the_promised_ones(farm):
    order = place(farm).json()
    assert order["currency"] == "USD"
    assert order["paymentStatus"] == "unpaid"
    assert order["fulfillmentStatus"] == "unfulfilled"
    assert order["checkoutUrl"] is None
    assert order["jobs"] == []
    assert order["attention"] == []
    assert order["lineItems"][0]["options"] == PLACED["lineItems"][0]["options"]


def test_a_read_gives_what_the_post_gave(farm):
    placed = place(farm)
    assert farm.ask("GET", f"/api/orders/{placed.json()['id']}").text == placed.text


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"skuId": "nothing"}, "/lineItems/0/skuId"),
        ({"skuId": "gone"}, "/lineItems/0/skuId"),
        ({"skuId": 7}, "/lineItems/0/skuId"),
        ({"skuId": None}, "/lineItems/0/skuId"),
        ({"quantity": 0}, "/lineItems/0/quantity"),
        ({"quantity": -3}, "/lineItems/0/quantity"),
        ({"quantity": 1.5}, "/lineItems/0/quantity"),
        ({"quantity": "3"}, "/lineItems/0/quantity"),
        ({"quantity": True}, "/lineItems/0/quantity"),
        ({"quantity": 10**30}, "/lineItems/0/quantity"),
        ({"options": {"flavour": "mint"}}, "/lineItems/0/options/flavour"),
        ({"options": {"infill": 101}}, "/lineItems/0/options/infill"),
        ({"options": {"infill": -1}}, "/lineItems/0/options/infill"),
        ({"options": {"infill": "20"}}, "/lineItems/0/options/infill"),
        ({"options": {"quality": "superb"}}, "/lineItems/0/options/quality"),
        ({"options": {"color": "black"}}, "/lineItems/0/options/color"),
        ({"options": []}, "/lineItems/0/options"),
        ({"price": 0.01}, "/lineItems/0/price"),
    ],
)
def test_a_wrong_line_is_refused_at_its_field_and_places_nothing(farm, change, pointer):
    before = farm.ok("GET", "/api/orders?limit=1")["total"]
    line = PLACED["lineItems"][0] | change
    problem = refused(place(farm, lineItems=[line]), 422)
    assert problem["errors"][0]["pointer"] == pointer
    assert farm.ok("GET", "/api/orders?limit=1")["total"] == before


@pytest.mark.parametrize("missing", ["customerId", "lineItems"])
def test_a_missing_key_is_named(farm, missing):
    body = {key: value for key, value in PLACED.items() if key != missing}
    assert refused(farm.ask("POST", "/api/orders", body), 422)["errors"][0]["pointer"] == f"/{missing}"


def test_no_line_items_is_no_order(farm):
    refused(place(farm, lineItems=[]), 422)


def test_every_fault_of_a_basket_is_told_at_once(farm):
    lines = [{"skuId": "nothing", "quantity": 1}, {"skuId": CUBE["id"], "quantity": 1, "options": {"infill": 900}}]
    pointers = {error["pointer"] for error in refused(place(farm, lineItems=lines), 422)["errors"]}
    assert pointers == {"/lineItems/0/skuId", "/lineItems/1/options/infill"}


# --- lists ---


def test_pages_hold_every_order_once_newest_first(farm):
    mine = [new(farm, customerId="pages") for _ in range(5)]
    first = farm.ok("GET", "/api/orders?customerId=pages&page=1&limit=2")
    assert {key: first[key] for key in ("page", "limit", "total", "totalPages")} == {
        "page": 1, "limit": 2, "total": 5, "totalPages": 3,
    }  # fmt: skip
    listed = [
        order["id"] for page in (1, 2, 3) for order in farm.ok("GET", f"/api/orders?customerId=pages&page={page}&limit=2")["data"]
    ]
    assert listed == mine[::-1]
    assert farm.ok("GET", "/api/orders?customerId=pages&page=4&limit=2")["data"] == []


def test_a_cursor_walks_the_same_list(farm):
    mine = [new(farm, customerId="cursor") for _ in range(5)]
    listed, page = [], farm.ok("GET", "/api/orders?customerId=cursor&limit=2")
    while True:
        listed += [order["id"] for order in page["data"]]
        if page["nextCursor"] is None:
            break
        page = farm.ok("GET", "/api/orders", params={"customerId": "cursor", "limit": 2, "cursor": page["nextCursor"]})
    assert listed == mine[::-1]


def test_an_order_placed_meanwhile_moves_nothing_under_a_cursor(farm):
    mine = [new(farm, customerId="moving") for _ in range(3)]
    page = farm.ok("GET", "/api/orders?customerId=moving&limit=2")
    new(farm, customerId="moving")
    rest = farm.ok("GET", "/api/orders", params={"customerId": "moving", "limit": 2, "cursor": page["nextCursor"]})
    assert [order["id"] for order in rest["data"]] == mine[:1]


def test_the_status_filter_takes_each_word_and_several(farm):
    paid = new(farm, customerId="filter")
    farm.ok("POST", f"/api/orders/{paid}/pay", {})
    gone = new(farm, customerId="filter")
    farm.ok("POST", f"/api/orders/{gone}/cancel", {})
    for word in WORDS:
        data = farm.ok("GET", f"/api/orders?status={word}&limit=100")["data"]
        assert {order["status"] for order in data} <= {word}
    both = farm.ok("GET", "/api/orders?customerId=filter&status=paid,processing,cancelled")["data"]
    assert [order["id"] for order in both] == [gone, paid]


@pytest.mark.parametrize(
    "query", ["status=lost", "status=paid,lost", "limit=0", "limit=101", "limit=x", "page=0", "page=-1", "cursor=%00", "cursor=x"]
)
def test_a_wrong_query_is_refused_and_named(farm, query):
    problem = refused(farm.ask("GET", f"/api/orders?{query}"), 422)
    assert problem["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


# --- one order's life without printers ---


def test_paying_makes_a_job_of_each_line(farm):
    order = new(farm, lineItems=[{"skuId": CUBE["id"], "quantity": 2}, {"skuId": CUBE["id"], "quantity": 1}])
    paid = farm.ok("POST", f"/api/orders/{order}/pay", {"reference": "receipt 7"})
    assert paid["status"] == "paid"
    assert paid["paymentStatus"] == "paid"
    lines = [line["id"] for line in paid["lineItems"]]
    assert sorted(job["lineItemId"] for job in paid["jobs"]) == sorted(lines)
    for job in paid["jobs"]:
        assert {"id", "lineItemId", "state", "quantity", "units", "progress", "etaAt"} <= set(job)
        assert set(job["units"]) == {"waiting", "printing", "printed", "good", "scrapped"}
    again = farm.ask("POST", f"/api/orders/{order}/pay", {"reference": "receipt 8"})
    assert again.status_code in (200, 409)
    assert len(farm.ok("GET", f"/api/orders/{order}")["jobs"]) == 2


def test_cancelling_twice_answers_the_same(farm):
    order = new(farm)
    first = farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "Customer requested cancellation"})
    assert first["status"] == "cancelled"
    assert first["cancellation"]["reason"] == "Customer requested cancellation"
    assert (first["cancellation"]["printers"], first["cancellation"]["refund"]) == ("none", "none")
    assert first["cancellation"]["at"].endswith("Z")
    assert farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "again"}) == first
    refused(farm.ask("POST", f"/api/orders/{order}/pay", {}), 409)
    refused(farm.ask("POST", f"/api/orders/{order}/ship", {"trackingNumber": "1"}), 409)


def test_cancelling_a_paid_order_owes_its_money_until_an_operator_gave_it_back(farm):
    order = new(farm)
    farm.ok("POST", f"/api/orders/{order}/pay", {})
    cancelled = farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "no"})
    assert cancelled["cancellation"]["refund"] == "pending"
    (due,) = (entry for entry in cancelled["attention"] if entry["code"] == "refund_due")
    assert "49.26" in due["detail"]
    assert {job["state"] for job in cancelled["jobs"]} == {"CANCELLED"}
    farm.ok("POST", f"/api/orders/{order}/refunds", {"reason": "handed back"})
    done = farm.ok("GET", f"/api/orders/{order}")
    assert (done["status"], done["cancellation"]["refund"], done["attention"]) == ("cancelled", "succeeded", [])
    assert done["refunded"] == done["total"]


@pytest.mark.parametrize("body", [None, {}, {"reason": None}])
def test_a_reason_is_not_demanded(farm, body):
    assert farm.ok("POST", f"/api/orders/{new(farm)}/cancel", body)["status"] == "cancelled"


def test_an_order_that_is_not_ready_is_not_shipped(farm):
    refused(farm.ask("POST", f"/api/orders/{new(farm)}/ship", {"carrier": "UPS", "trackingNumber": "1Z"}), 409, "not_ready")


def test_refunds_never_pass_what_was_captured(farm):
    order = new(farm)
    refused(farm.ask("POST", f"/api/orders/{order}/refunds", {"amount": 1, "reason": "early"}), 409)
    farm.ok("POST", f"/api/orders/{order}/pay", {})
    part = farm.ask("POST", f"/api/orders/{order}/refunds", {"amount": 9.26, "reason": "scratched"})
    assert part.is_success
    assert '"amount":9.26' in part.text
    refused(farm.ask("POST", f"/api/orders/{order}/refunds", {"amount": 40.01, "reason": "too much"}), 409)
    assert farm.ok("GET", f"/api/orders/{order}")["status"] != "refunded"
    assert farm.ask("POST", f"/api/orders/{order}/refunds", {"reason": "the rest"}).is_success
    assert farm.ok("GET", f"/api/orders/{order}")["status"] == "refunded"
    refused(farm.ask("POST", f"/api/orders/{order}/refunds", {"amount": 0.01, "reason": "more"}), 409)


def test_units_of_a_line_are_refunded_with_their_tax(farm):
    placed = place(farm).json()
    farm.ok("POST", f"/api/orders/{placed['id']}/pay", {})
    line = placed["lineItems"][0]["id"]
    one = farm.ok("POST", f"/api/orders/{placed['id']}/refunds", {"lineItemId": line, "quantity": 1, "reason": "broken"})
    assert one["amount"] == pytest.approx(12.50 * 1.0826, abs=0.01)
    refused(farm.ask("POST", f"/api/orders/{placed['id']}/refunds", {"lineItemId": "li-none", "reason": "x"}), 422)
    refused(farm.ask("POST", f"/api/orders/{placed['id']}/refunds", {"lineItemId": line, "quantity": 4, "reason": "x"}), 409)


@pytest.mark.parametrize("amount", [0, -1, 0.001, "5", True, 1e300])
def test_a_wrong_amount_is_refused(farm, amount):
    order = new(farm)
    farm.ok("POST", f"/api/orders/{order}/pay", {})
    refused(farm.ask("POST", f"/api/orders/{order}/refunds", {"amount": amount, "reason": "x"}), 422)
    assert farm.ok("GET", f"/api/orders/{order}")["refunded"] == 0


def test_without_a_hosted_checkout_none_is_opened(farm):
    refused(farm.ask("POST", f"/api/orders/{new(farm)}/checkout"), 409)


def test_the_timeline_tells_the_order_from_its_first_event(farm):
    order = new(farm)
    farm.ok("POST", f"/api/orders/{order}/pay", {})
    farm.ok("POST", f"/api/orders/{order}/cancel", {})
    events = farm.ok("GET", f"/api/orders/{order}/events")["data"]
    types = [event["type"] for event in events if event["type"] in ("order.created", "order.paid", "order.cancelled")]
    assert types == ["order.created", "order.paid", "order.cancelled"]
    assert [event["data"]["sequence"] for event in events] == sorted(event["data"]["sequence"] for event in events)
    assert events[0]["data"]["order"]["total"] == 4926, "events carry minor units"


# --- whose order ---


def test_a_customer_sees_and_cancels_its_own_and_nothing_else(farm):
    own, other = new(farm), new(farm, customerId="somebody-else")
    assert farm.ok("GET", f"/api/orders/{own}", role="customer")["id"] == own
    refused(farm.ask("GET", f"/api/orders/{other}", role="customer"), 404, "not_found")
    refused(farm.ask("GET", f"/api/orders/{other}/events", role="customer"), 404)
    refused(farm.ask("POST", f"/api/orders/{other}/cancel", {}, "customer"), 404)
    assert farm.ok("GET", f"/api/orders/{other}")["status"] == "pending_payment"
    listed = farm.ok("GET", "/api/orders?limit=100", role="customer")["data"]
    assert {order["customerId"] for order in listed} == {CUSTOMER}
    assert farm.ok("GET", "/api/orders?customerId=somebody-else", role="customer")["data"] == []
    refused(place(farm, "customer", customerId="somebody-else"), 403)
    assert place(farm, "customer").status_code == 201
    assert farm.ok("POST", f"/api/orders/{own}/cancel", {"reason": "mine"}, "customer")["status"] == "cancelled"


def test_a_customer_sees_only_its_own_jobs(farm):
    own, other = new(farm), new(farm, customerId="somebody-else")
    for order in (own, other):
        farm.ok("POST", f"/api/orders/{order}/pay", {})
    job = farm.job(other)["id"]
    refused(farm.ask("GET", f"/api/jobs/{job}", role="customer"), 404)
    orders = {each["orderId"] for each in farm.ok("GET", "/api/jobs?limit=100", role="customer")["data"]}
    assert own in orders
    assert other not in orders
    assert farm.ok("GET", f"/api/jobs?orderId={other}", role="customer")["data"] == []


def test_the_feed_of_a_customer_holds_its_own_events_only(farm):
    other = new(farm, customerId="somebody-else")
    own = new(farm)
    told = {event["data"].get("orderId") for event in farm.ok("GET", "/api/events?limit=1000", role="customer")["data"]}
    assert own in told
    assert other not in told


# --- the catalog ---


def test_a_sku_with_the_least_takes_the_farms_options(farm):
    sku = farm.ok("POST", "/api/skus", CUBE | {"id": "least"})
    promised = {"id", "name", "unitPrice", "material", "color", "options", "qualityTiers", "postProcess", "profile", "active"}
    assert promised <= set(sku)
    assert sku["qualityTiers"] == {"draft": 0.8, "standard": 1, "fine": 1.4}
    prices = {}
    for quality in sku["qualityTiers"]:
        line = {"skuId": "least", "quantity": 1, "options": {"quality": quality, "infill": 50, "color": "#ffffff"}}
        prices[quality] = place(farm, lineItems=[line]).json()["lineItems"][0]["unitPrice"]
    assert prices == {"draft": 10.0, "standard": 12.5, "fine": 17.5}


def test_a_sku_changes_without_its_orders(farm):
    farm.ok("POST", "/api/skus", CUBE | {"id": "changing"})
    order = new(farm, lineItems=[{"skuId": "changing", "quantity": 1}])
    changed = farm.ok("PATCH", "/api/skus/changing", {"unitPrice": 99.99, "postProcess": ["sand"]})
    assert (changed["unitPrice"], changed["postProcess"], changed["name"]) == (99.99, ["sand"], CUBE["name"])
    assert farm.ok("GET", f"/api/orders/{order}")["subtotal"] == 12.5
    farm.ok("PATCH", "/api/skus/changing", {"active": False})
    refused(farm.ask("GET", "/api/skus/changing", role="customer"), 404)
    refused(farm.ask("POST", "/api/skus", CUBE | {"id": "changing"}), 409)


def test_a_sku_of_ones_own_options_prices_them(farm):
    options = [
        {"key": "finish", "label": "Finish", "type": "select", "choices": ["raw", "polished"], "default": "raw"},
        {"key": "holes", "label": "Holes", "type": "number", "min": 0, "max": 4, "default": 0},
        {"key": "insert", "label": "Brass insert", "type": "boolean", "default": False, "priceModifier": 1.25},
    ]
    sku = farm.ok("POST", "/api/skus", CUBE | {"id": "own", "options": options})
    assert [option["key"] for option in sku["options"]] == ["finish", "holes", "insert"]
    for name, value in (("finish", "gold"), ("holes", 5), ("holes", "2"), ("insert", "yes"), ("insert", 1)):
        line = {"skuId": "own", "quantity": 1, "options": {name: value}}
        assert refused(place(farm, lineItems=[line]), 422)["errors"][0]["pointer"] == f"/lineItems/0/options/{name}"
    line = {"skuId": "own", "quantity": 1, "options": {"finish": "polished", "holes": 4, "insert": True}}
    assert place(farm, lineItems=[line]).json()["lineItems"][0]["unitPrice"] == 13.75


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id": "../etc"}, "/id"),
        ({"unitPrice": -1}, "/unitPrice"),
        ({"unitPrice": 1.005}, "/unitPrice"),
        ({"unitPrice": "12.50"}, "/unitPrice"),
        ({"color": "black"}, "/color"),
        ({"material": ""}, "/material"),
        ({"options": [{"key": "a", "type": "colour"}]}, "/options/0/type"),
        ({"options": [{"key": "a", "type": "select"}]}, "/options/0"),
        ({"qualityTiers": {"draft": 0}}, "/qualityTiers/draft"),
        ({"postProcess": "sand"}, "/postProcess"),
        ({"active": "yes"}, "/active"),
        ({"price": 1}, "/price"),
    ],
)
def test_a_wrong_sku_is_refused_at_its_field(farm, change, pointer):
    problem = refused(farm.ask("POST", "/api/skus", CUBE | {"id": "wrong"} | change), 422)
    assert problem["errors"][0]["pointer"].startswith(pointer)
    refused(farm.ask("GET", "/api/skus/wrong"), 404)
