"""`farmd doctor` and a Stripe that is not as it should be: the one step that failed, with its cure, and never a key or a secret."""

import json
import shutil

import pytest

from tests.daemon_process import DaemonProcess
from tests.doubles.stripe_double import stripe_double
from tests.peers.paid_farm import HOOK, payments

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="PrusaSlicer is not installed; run make setup"),
]

ENDPOINT = f"https://farm.example{HOOK}"
NEEDED = "write on Checkout Sessions, PaymentIntents and Refunds, and read on Disputes and Events"


@pytest.fixture
def stripe():
    with stripe_double() as double:
        double.deliver_to(ENDPOINT, api_version=double.books.api_version)
        yield double


@pytest.fixture
def examine(tmp_path, stripe):
    """Run the doctor on a farm with these `[payments.stripe]`; gives what failed, by step, and the whole answer."""

    def run(*, old="", new="", code=1, secrets=(), **options):
        farm = DaemonProcess(tmp_path, more=payments(stripe, *secrets, **options))
        text = farm.config.read_text()
        assert old in text
        farm.config.write_text(text.replace(old, new, 1))
        hidden = [stripe.key, stripe.secret, *secrets, *(options.get(key) for key in ("api_key",) if options.get(key))]
        found = farm.cli("doctor", "--config", str(farm.config), "--json")
        assert not any(secret in found.stdout + found.stderr for secret in hidden)
        assert found.stderr == ""
        findings = json.loads(found.stdout)["data"]
        failed = {(each["area"], each["step"]): each["detail"] for each in findings if not each["ok"]}
        assert found.returncode == code == bool(failed), failed
        return failed, {each["step"]: each["detail"] for each in findings if each["area"] == "payments"}

    return run


def only(failed, step):
    """The detail of the one thing that failed."""
    assert list(failed) == [("payments", step)]
    return failed["payments", step]


# --- in order ---


@pytest.mark.parametrize("mode", ["both", "webhook", "poll"])
def test_a_farm_in_order_is_told_so_step_by_step(examine, mode):
    failed, steps = examine(code=0, mode=mode)
    assert failed == {}
    rights = [f"right: {name}" for name in ("Checkout Sessions", "PaymentIntents", "Refunds", "Disputes", "Events")]
    assert list(steps) == ["connection", "key", "clock", *rights, "currency", "webhook secrets", "webhook endpoint"]
    assert "test mode" in steps["key"]
    assert steps["webhook endpoint"] == ("not needed" if mode == "poll" else ENDPOINT)


def test_asking_by_itself_needs_no_secret_and_no_endpoint(examine, stripe):
    stripe.books.tables["webhook_endpoint"].clear()
    failed, _ = examine(code=0, mode="poll", webhook_secrets=None)
    assert failed == {}


def test_at_a_terminal_it_is_a_table_without_secrets_and_it_only_asks(tmp_path, stripe):
    farm = DaemonProcess(tmp_path, more=payments(stripe))
    done = farm.cli("doctor", "--config", str(farm.config))
    assert done.returncode == 0, done.stdout
    assert "are in order" in done.stdout
    assert stripe.key not in done.stdout + done.stderr
    assert stripe.secret not in done.stdout + done.stderr
    assert {(each.method, each.status) for each in stripe.requests} == {("GET", 200)}


# --- the key ---


@pytest.mark.parametrize("key", ["sk_test_51Wrong0000000000000000001", "rk_live_51Wrong0000000000000000001"])
def test_a_wrong_key_is_said_to_be_wrong(examine, stripe, key):
    words = only(examine(api_key=key)[0], "key")
    assert "copy the secret key again" in words
    assert stripe.url in words
    assert key[-4:] not in words


RIGHTS = {
    "Checkout Sessions": "/v1/checkout/sessions",
    "PaymentIntents": "/v1/payment_intents",
    "Refunds": "/v1/refunds",
    "Disputes": "/v1/disputes",
    "Events": "/v1/events",
}


@pytest.mark.parametrize("lacking", [list(RIGHTS), ["Refunds"]], ids=["all", "one"])
def test_a_restricted_key_is_told_what_it_lacks(examine, stripe, lacking):
    stripe.restrict(*(RIGHTS[name] for name in lacking))
    failed, _ = examine()
    assert list(failed) == [("payments", f"right: {name}") for name in lacking]
    for name in lacking:
        words = failed["payments", f"right: {name}"]
        assert f"the key may not read {name}" in words
        assert NEEDED in words


def test_a_key_restricted_to_what_the_farm_needs_is_in_order(examine, stripe):
    """The rights that README asks for, and not one more: neither balance nor account nor endpoints."""
    stripe.restrict("/v1/balance", "/v1/account", "/v1/webhook_endpoints")
    failed, steps = examine(code=0)
    assert failed == {}
    assert "cannot be seen with this key" in steps["currency"]
    assert "cannot be seen with this key" in steps["webhook endpoint"]
    assert "this machine is" in steps["clock"]


# --- the way there ---


def test_a_stripe_that_is_down_is_named_with_its_address(examine, stripe):
    stripe.down()
    words = only(examine()[0], "connection")
    assert stripe.url in words
    assert "is there a network?" in words


def test_a_stripe_that_hangs_up_is_named(examine, stripe):
    stripe.fail_next("GET", "/v1/balance", kind="drop_before", times=10)
    assert "does not answer" in only(examine()[0], "connection")


@pytest.mark.parametrize(("skew", "word", "hidden"), [(-400, "ahead", ()), (400, "behind", ("/v1/balance",))])
def test_a_wrong_clock_is_told_which_way_and_how_to_set_it(examine, stripe, skew, word, hidden):
    stripe.skew(skew)
    stripe.restrict(*hidden)  # the time is told also to a key that may not see the balance
    words = only(examine()[0], "clock")
    assert word in words
    assert "timedatectl" in words
    assert any(f"{seconds} s" in words for seconds in range(390, 411))


# --- the account ---


def test_a_currency_that_stripe_does_not_know_is_named_with_the_key_to_correct(examine):
    words = only(examine(old='currency = "USD"', new='currency = "XAU"')[0], "currency")
    assert "XAU" in words
    assert "[farm] currency" in words


def test_an_account_that_may_not_charge_is_sent_to_the_dashboard(examine, stripe):
    stripe.books.account["charges_enabled"] = False
    assert "activation" in only(examine()[0], "account")


# --- the endpoint ---


@pytest.mark.parametrize("url", [None, "https://farm.example/webhooks/stripe/old"])
def test_a_missing_endpoint_is_a_fault_where_nothing_else_tells(examine, stripe, url):
    if url is None:
        stripe.books.tables["webhook_endpoint"].clear()
    else:
        stripe.deliver_to(url)
    words = only(examine(mode="webhook")[0], "webhook endpoint")
    assert f"none ends in {HOOK}" in words
    assert "create one in the dashboard" in words
    assert "stripe listen" in words


def test_a_missing_endpoint_is_a_remark_where_the_farm_asks_too(examine, stripe):
    stripe.books.tables["webhook_endpoint"].clear()
    stripe.skew(200)  # as far as that, a clock is in order
    _, steps = examine(code=0, mode="both")
    assert "sweep_seconds" in steps["webhook endpoint"]


def test_a_disabled_endpoint_is_to_be_enabled(examine, stripe):
    stripe.deliver_to(ENDPOINT, status="disabled")
    assert "enable it" in only(examine()[0], "webhook endpoint")


def test_an_endpoint_of_another_api_version_is_to_be_made_anew(examine, stripe):
    stripe.deliver_to(ENDPOINT, api_version="2019-02-19")
    words = only(examine()[0], "webhook endpoint")
    assert "2019-02-19" in words
    assert stripe.books.api_version in words
    assert "anew" in words


def test_an_endpoint_that_does_not_send_what_matters_is_told_what_is_missing(examine, stripe):
    stripe.deliver_to(ENDPOINT, enabled_events=("checkout.session.completed", "customer.created"))
    words = only(examine()[0], "webhook endpoint")
    assert "checkout.session.async_payment_succeeded" in words
    assert "and more" in words
    assert "add these events" in words
    assert "customer.created" not in words


def test_secrets_that_are_no_secrets_are_counted_and_not_shown(examine):
    secrets = ("we_1OnlyTheEndpoint", "whsec_" + "a" * 32, "hunter2hunter2")
    words = only(examine(secrets=secrets)[0], "webhook secrets")
    assert "2 of them" in words
    assert "signing secret" in words


# --- the file ---


MISTAKES = {
    "nothing given": (
        {"api_key": None, "webhook_secrets": None},
        ["api_key is missing: the provider is stripe", "webhook_secrets is missing"],
    ),
    "publishable": (
        {"api_key": "pk_test_51Publishable0001"},
        ["api_key: this is not a secret key of Stripe; it begins with sk_ or rk_"],
    ),
    "misspelt": (
        {"apikey": "sk_test_misspelt_key", "webhook_secret": "whsec_singular", "sweep_secs": 30},
        [
            "apikey: did you mean api_key?",
            "webhook_secret: did you mean webhook_secrets?",
            "sweep_secs: did you mean sweep_seconds?",
        ],
    ),
    "wrong values": (
        {"mode": "hooks", "sweep_seconds": 1, "session_hours": 25, "success_url": "shop.example", "webhook_secrets": "whsec_no"},
        [
            "mode: expected 'webhook', 'poll' or 'both'",
            "sweep_seconds: ",
            "session_hours: ",
            "success_url: use a whole address",
            "webhook_secrets: expected a list",
        ],
    ),
    "no such files": (
        {"api_key": None, "api_key_file": "nowhere.key", "webhook_secrets": None, "webhook_secrets_file": "nowhere.hooks"},
        ["api_key_file: cannot read", "webhook_secrets_file: cannot read"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_the_file_are_named_by_the_doctor_and_stop_the_daemon(tmp_path, stripe, name):
    change, words = MISTAKES[name]
    farm = DaemonProcess(tmp_path, more=payments(stripe, **change))
    given = [value for value in change.values() if isinstance(value, str)]
    hidden = [stripe.key, stripe.secret, *(value for value in given if value.startswith(("sk_", "pk_", "whsec_")))]
    found = farm.cli("doctor", "--config", str(farm.config), "--json")
    assert found.returncode == 1
    findings = json.loads(found.stdout)["data"]
    assert {(each["area"], each["step"], each["ok"]) for each in findings} == {("config", "read", False)}
    assert len(findings) == len(words)
    for each in words:
        assert len([finding for finding in findings if f"[payments.stripe] {each}" in finding["detail"]]) == 1, findings
    assert all(str(farm.config) in finding["detail"] for finding in findings)
    run = farm.cli("run", "--config", str(farm.config))
    assert run.returncode == 1
    assert any(each in run.stderr for each in words)
    for text in (found.stdout, found.stderr, run.stdout, run.stderr):
        assert "Traceback" not in text
        assert not any(secret in text for secret in hidden)
    assert stripe.requests == []
