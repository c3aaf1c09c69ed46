"""The door that Stripe's messages come through: anybody may knock; what Stripe signed, lately and for this farm, is heard.

Every test is about an order that is paid at Stripe and that the farm was not told of. A message that it should not have believed
would make it look, and the order would be paid; that the genuine one does so is shown at the end of each.
"""

import json
import signal

import pytest

from tests.daemon_process import DaemonProcess, wait_for
from tests.doubles.stripe_double import stripe_double
from tests.peers.contract_farm import refused, running_farm
from tests.peers.paid_farm import HOOK, NO_SLICER, completed, paid_farm, payments, place, post, session, signed, until, view

pytestmark = pytest.mark.slow

TOLERANCE = 300
TWO_MB = json.dumps(
    {"id": "evt_big", "object": "event", "type": "checkout.session.completed", "data": {"object": {"id": "x" * 2_000_000}}}
)
THIN = {
    "id": "evt_test_65",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "livemode": False,
    "created": "2026-01-01T00:00:00.000Z",
    "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
}
TWO_SECRETS = 'webhook_secrets = ["{}", "{}"]'


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_running():
    yield
    DaemonProcess.end_all()


@pytest.fixture(scope="module")
def stripe():
    with stripe_double(seed=1) as double:
        yield double


@pytest.fixture(scope="module")
def farm(tmp_path_factory, stripe):
    with paid_farm(tmp_path_factory.mktemp("farm"), stripe, mode="webhook", sweep_seconds=86_400) as running:
        running.sell("cube", None)
        yield running


@pytest.fixture(autouse=True)
def healthy(farm, stripe):
    """Whatever came: the daemon answers, nothing broke, and nobody read a secret."""
    yield
    assert farm.ask("GET", "/readyz").status_code == 200
    log = farm.daemon.log.read_text()
    assert not [line for line in log.splitlines() if '"level": "error"' in line or "Traceback" in line]
    assert stripe.secret not in log


@pytest.fixture
def order(farm, stripe):
    """Paid at Stripe, untold."""
    stripe.webhooks.drop()
    placed = place(farm, "cube")
    stripe.pay(session(stripe, placed)["id"])
    return placed


def tell(farm, stripe, order):
    """The genuine message, and what comes of it."""
    body = completed(stripe, order)
    answer = post(farm, body, signed(body, stripe.secret))
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert len(until(farm, order, paymentStatus="paid")["jobs"]) == 1


def not_believed(farm, stripe, order, body, header, **more):
    """It is refused with a problem document, changes nothing, and the genuine message is taken all the same."""
    before = view(farm, order)
    problem = refused(post(farm, body, header, **more), 400)
    assert stripe.secret not in json.dumps(problem)
    assert view(farm, order) == before
    assert before["status"] == "pending_payment"
    tell(farm, stripe, order)
    return problem


def ignored(farm, stripe, order, change):
    """It is taken with 200 and nothing follows: another order's message, dealt with after it, has its effect and this has none."""
    before = view(farm, order)
    event = json.loads(completed(stripe, order))
    change(event)
    body = json.dumps(event).encode()
    answer = post(farm, body, signed(body, stripe.secret))
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    other = place(farm, "cube")
    stripe.pay(session(stripe, other)["id"])
    tell(farm, stripe, other)
    assert view(farm, order) == before
    assert before["status"] == "pending_payment"


# --- refused ---


@pytest.mark.parametrize("header", [None, "", "t=1,v1=0", "v1=0", "t=,v1=", "=", "t=x,v1=x", "v0", b"t=1,v1=\xe9", "x" * 8000])
def test_without_a_signature_nothing_is_believed(farm, stripe, order, header):
    assert not_believed(farm, stripe, order, completed(stripe, order), header)["code"] == "bad_webhook"


def test_a_forged_signature_is_refused(farm, stripe, order):
    body = completed(stripe, order)
    problem = not_believed(farm, stripe, order, body, signed(body, "whsec_forged"))
    assert "webhook_secrets" in problem["detail"]


def test_a_signature_of_another_scheme_is_refused(farm, stripe, order):
    body = completed(stripe, order)
    not_believed(farm, stripe, order, body, signed(body, stripe.secret).replace("v1=", "v0="))


@pytest.mark.parametrize("age", [TOLERANCE + 30, 3 * 86_400])
def test_an_old_signature_is_refused_with_a_word_about_clocks(farm, stripe, order, age):
    body = completed(stripe, order)
    problem = not_believed(farm, stripe, order, body, signed(body, stripe.secret, age=age))
    assert "five minutes" in problem["detail"]
    assert "clock" in problem["detail"]


def test_an_old_signature_does_not_become_young_by_a_second_moment(farm, stripe, order):
    body = completed(stripe, order)
    fresh = signed(body, "whsec_forged").partition(",")[0]
    header = signed(body, stripe.secret, age=86_400)
    not_believed(farm, stripe, order, body, f"{header},{fresh}")


def test_a_message_of_a_moment_ago_is_taken(farm, stripe, order):
    body = completed(stripe, order)
    assert post(farm, body, signed(body, stripe.secret, age=TOLERANCE - 30)).status_code == 200
    until(farm, order, paymentStatus="paid")


@pytest.mark.parametrize("more", [",t=x", ",v2=0", ",v0=0", ",v1=0", ",", ",x=y=z"])
def test_what_else_stands_in_a_genuine_header_does_no_harm(farm, stripe, order, more):
    body = completed(stripe, order)
    assert post(farm, body, signed(body, stripe.secret) + more).status_code == 200
    until(farm, order, paymentStatus="paid")


@pytest.mark.parametrize("more", [",t", ",v1", ",v1="])
def test_a_broken_end_of_a_genuine_header_is_a_refusal_or_nothing(farm, stripe, order, more):
    body = completed(stripe, order)
    answer = post(farm, body, signed(body, stripe.secret) + more)
    assert answer.status_code == (200 if more.endswith("=") else 400)
    tell(farm, stripe, order)


@pytest.mark.parametrize("cut", [1, 200, None])
def test_a_truncated_body_is_refused(farm, stripe, order, cut):
    body = completed(stripe, order)
    not_believed(farm, stripe, order, b"" if cut is None else body[:-cut], signed(body, stripe.secret))


@pytest.mark.parametrize("place_of_it", [0, 0.5, 1])
def test_one_byte_that_is_another_is_refused(farm, stripe, order, place_of_it):
    body = bytearray(completed(stripe, order))
    header = signed(bytes(body), stripe.secret)
    body[int((len(body) - 1) * place_of_it)] ^= 1
    not_believed(farm, stripe, order, bytes(body), header)


@pytest.mark.parametrize("in_chunks", [False, True])
def test_two_megabytes_are_refused_even_when_they_are_signed(farm, stripe, order, in_chunks):
    body = TWO_MB.encode()
    pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    problem = not_believed(farm, stripe, order, pieces if in_chunks else body, signed(body, stripe.secret))
    assert "1 MB" in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"{",
        b"[]",
        b'"evt_1"',
        b"null",
        b"{}",
        b'{"id": 7, "object": "event"}',
        b'{"object": "event"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_event_is_refused_even_when_it_is_signed(farm, stripe, order, body):
    not_believed(farm, stripe, order, body, signed(body, stripe.secret))


def test_a_thin_event_is_refused_with_the_cure(farm, stripe, order):
    body = json.dumps(THIN).encode()
    assert "snapshot" in not_believed(farm, stripe, order, body, signed(body, stripe.secret))["detail"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense", ""]
)
def test_a_content_type_opens_no_door_and_closes_none(farm, stripe, order, kind):
    """The bytes are what is signed; whatever a proxy made of the header, they count and nothing else."""
    body = completed(stripe, order)
    before = view(farm, order)
    refused(post(farm, body, signed(body, "whsec_forged"), kind), 400, "bad_webhook")
    assert view(farm, order) == before
    assert post(farm, body, signed(body, stripe.secret), kind).status_code == 200
    until(farm, order, paymentStatus="paid")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_only_a_post_is_a_message(farm, stripe, order, method):
    body = completed(stripe, order)
    header = {"Stripe-Signature": signed(body, stripe.secret), "Content-Type": "application/json"}
    answer = farm.ask(method, HOOK, role=None, content=body, headers=header)
    refused(answer, 405)
    assert answer.headers["allow"] == "POST"
    assert view(farm, order)["status"] == "pending_payment"
    tell(farm, stripe, order)


def test_a_key_of_the_farm_is_no_signature(farm, stripe, order):
    before = view(farm, order)
    refused(
        farm.ask("POST", HOOK, content=completed(stripe, order), headers={"Content-Type": "application/json"}), 400, "bad_webhook"
    )
    assert view(farm, order) == before


# --- taken and ignored ---


def test_a_session_that_nobody_here_knows_is_ignored(farm, stripe, order):
    def change(event):
        event["id"] = "evt_unknown"
        event["data"]["object"] |= {
            "id": "cs_test_unknown",
            "client_reference_id": "ord-unknown",
            "metadata": {},
            "payment_intent": "pi_unknown",
        }

    ignored(farm, stripe, order, change)


def test_a_message_of_another_account_is_ignored(farm, stripe, order):
    ignored(farm, stripe, order, lambda event: event.update(id="evt_connect", account="acct_1Other"))


def test_a_live_message_is_ignored_under_a_key_of_test_mode(farm, stripe, order):
    ignored(farm, stripe, order, lambda event: event.update(id="evt_live", livemode=True))


def test_a_kind_of_message_that_does_not_matter_is_ignored(farm, stripe, order):
    ignored(farm, stripe, order, lambda event: event.update(id="evt_kind", type="customer.created"))


@pytest.mark.parametrize(
    "data", [None, [], "x", {}, {"object": None}, {"object": []}, {"object": {"id": 7, "metadata": [], "payment_intent": 7}}]
)
def test_an_event_of_an_odd_shape_is_taken_and_changes_nothing(farm, stripe, order, data):
    ignored(farm, stripe, order, lambda event: event.update(id=f"evt_odd_{json.dumps(data)}", data=data, created="yesterday"))


def test_what_a_message_claims_is_not_believed_it_only_makes_the_farm_look(farm, stripe):
    """A genuine message that says paid, about a checkout that is not."""
    stripe.webhooks.drop()
    paid, unpaid = place(farm, "cube"), place(farm, "cube")
    stripe.pay(session(stripe, paid)["id"])
    event = json.loads(completed(stripe, paid))
    event["id"] = "evt_claim"
    event["data"]["object"] |= {
        "id": session(stripe, unpaid)["id"],
        "client_reference_id": unpaid["id"],
        "metadata": {},
        "payment_intent": None,
    }
    body = json.dumps(event).encode()
    begin = len(stripe.requests)
    assert post(farm, body, signed(body, stripe.secret)).status_code == 200
    path = f"/v1/checkout/sessions/{session(stripe, unpaid)['id']}"
    wait_for(lambda: [each for each in stripe.requests[begin:] if (each.path, each.status) == (path, 200)], 20)
    tell(farm, stripe, paid)
    assert view(farm, unpaid)["status"] == "pending_payment"


# --- secrets that change ---


def test_a_message_signed_twice_while_a_secret_is_rolled_is_taken(farm, stripe, order):
    body = completed(stripe, order)
    assert post(farm, body, signed(body, "whsec_the_next_one", stripe.secret)).status_code == 200
    until(farm, order, paymentStatus="paid")


def test_a_secret_rolled_in_mid_flight_costs_a_restart_with_both_and_no_order(farm, stripe):
    """Stripe signs with the new secret alone before the farm knows it; the message it refuses is sent again."""
    old, text = stripe.secret, farm.daemon.config.read_text()
    stripe.webhooks.deliver()
    order = place(farm, "cube")
    new = stripe.rotate_secret(both=False)
    begin = len(stripe.webhooks.sent)
    stripe.pay(session(stripe, order)["id"])
    wait_for(lambda: stripe.webhooks.idle and stripe.webhooks.sent[begin:], 20)
    assert {sent.status for sent in stripe.webhooks.sent[begin:]} == {400}
    assert view(farm, order)["status"] == "pending_payment"
    both = text.replace(f'webhook_secrets = ["{old}"]', TWO_SECRETS.format(new, old))
    assert both != text
    farm.daemon.config.write_text(both)
    assert farm.daemon.stop() < 5
    farm.daemon.start()
    begin = len(stripe.webhooks.sent)
    stripe.forward(600)  # its next attempts fall due
    wait_for(lambda: stripe.webhooks.idle and stripe.webhooks.sent[begin:], 20)
    assert {sent.status for sent in stripe.webhooks.sent[begin:]} == {200}
    until(farm, order, paymentStatus="paid")
    stripe.webhooks.drop()
    for secrets in ((old,), (new,), (new, old)):
        each = place(farm, "cube")
        stripe.pay(session(stripe, each)["id"])
        body = completed(stripe, each)
        assert post(farm, body, signed(body, *secrets)).status_code == 200
        until(farm, each, paymentStatus="paid")
    refused(post(farm, body, signed(body, "whsec_neither")), 400, "bad_webhook")


# --- a farm that Stripe has nothing to do with ---


def test_a_farm_with_manual_payments_takes_no_message_of_stripe(tmp_path, stripe):
    with running_farm(tmp_path, more=NO_SLICER) as manual:
        manual.sell("cube", None)
        order = place(manual, "cube")
        body = json.dumps({"id": "evt_1", "object": "event", "type": "checkout.session.completed", "data": {"object": {}}}).encode()
        for header in (signed(body, stripe.secret), None):
            assert "Stripe" in refused(post(manual, body, header), 400, "no_stripe")["detail"]
        assert view(manual, order) == order
        manual.daemon.config.write_text(manual.daemon.config.read_text() + payments(stripe))
        manual.daemon._process.send_signal(signal.SIGHUP)  # which reads printers again, and nothing else
        wait_for(lambda: "farmd.reloaded" in manual.daemon.log.read_text(), 20)
        refused(post(manual, body, signed(body, stripe.secret)), 400, "no_stripe")
