"""farmd.toml as its owner meets it: what is taken, where values may come from, and what is said about each mistake."""

from decimal import Decimal
from pathlib import Path

import pytest

from farmd.config import BackupSettings
from farmd.config_file import ConfigError, load_settings
from farmd.fleet.drivers import option_names

DRIVERS = {"octoprint": frozenset({"url", "api_key"}), "gcode": frozenset({"port", "baud"})}
WHOLE = """
[server]
host = "0.0.0.0"
port = 9000
[store]
url = "sqlite:///data/farm.db"
files = "data/files"
[farm]
currency = "USD"
[slicer]
workers = 2
profiles = "mine"
[shipping]
flat = "8.00"
[tax]
rate = "0.0826"
[[printers]]
id = "mk3-01"
driver = "octoprint"
url = "http://127.0.0.1:5000"
api_key = "very-secret"
bed = [250, 210, 210]
material = "PLA"
color = "#1A1A1A"
bed_clear = "auto"
"""


def load(tmp_path, text, environ=None):
    file = tmp_path / "farmd.toml"
    file.write_text(text)
    return load_settings(file, environ or {}, DRIVERS)


def refusal(tmp_path, text, environ=None):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environ)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0].replace(f"{tmp_path}/", "")


def test_a_whole_file(tmp_path):
    settings = load(tmp_path, WHOLE)
    assert (settings.host, settings.port) == ("0.0.0.0", 9000)  # noqa: S104 - read, not bound
    assert settings.store_url == f"sqlite:///{tmp_path}/data/farm.db"
    assert settings.files == tmp_path / "data/files"
    assert settings.profiles == tmp_path / "mine"
    assert settings.shipping_flat == 800
    assert settings.tax.rate == Decimal("0.0826")
    assert settings.slicer.workers == 2
    [printer] = settings.printers
    assert printer.bed == (250.0, 210.0, 210.0)
    assert printer.color == "#1a1a1a"
    assert printer.options == {"url": "http://127.0.0.1:5000", "api_key": "very-secret"}


def test_an_empty_file_is_a_farm_without_printers(tmp_path):
    settings = load(tmp_path, "")
    assert (settings.host, settings.port, settings.printers) == ("127.0.0.1", 8787, ())
    assert settings.store_url == f"sqlite:///{tmp_path}/farmd.db"


def test_backups_lie_beside_the_store_unless_told_otherwise(tmp_path):
    assert load(tmp_path, "").backup == BackupSettings(tmp_path / "backups", 1.0, 48)
    assert load(tmp_path, '[store]\nurl = "sqlite:////srv/farm/farm.db"\n').backup.folder == Path("/srv/farm/backups")
    told = load(tmp_path, '[backup]\nfolder = "/mnt/other"\nevery_hours = 0\nkeep = 2\n').backup
    assert told == BackupSettings(Path("/mnt/other"), 0, 2)
    assert "keep: " in refusal(tmp_path, "[backup]\nkeep = 1\n")
    assert "every_hours: " in refusal(tmp_path, "[backup]\nevery_hours = -1\n")


def test_absolute_paths_and_postgresql_stay_as_they_are(tmp_path):
    assert load(tmp_path, '[store]\nurl = "sqlite:////srv/farm.db"\n').store_url == "sqlite:////srv/farm.db"
    url = "postgresql+psycopg://farm@db/farm"
    assert load(tmp_path, f'[store]\nurl = "{url}"\n').store_url == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[slicer]\n\ncomand = "x"', "[slicer] comand: did you mean command? farmd.toml:3"),
        ("[servr]\nport = 1", "servr: did you mean server? farmd.toml:1"),
        ("[server]\nport = 8787\nzzz = 1", "[server] zzz: no such key; known are host, port. farmd.toml:3"),
        ('[server]\nport = "8787"', "[server] port: expected a whole number, found text. farmd.toml:2"),
        ("[server]\nport = 8787.5", "[server] port: expected a whole number, found a number. farmd.toml:2"),
        ("[server]\nport = true", "[server] port: expected a whole number, found true or false. farmd.toml:2"),
        ("[server]\nport = 70000", "[server] port: input should be less than or equal to 65535. farmd.toml:2"),
        ("server = 5", "server: expected a table, found a whole number. farmd.toml:1"),
        (
            "[farm]\ncurrency = 'usd'",
            "[farm] currency: use a three-letter ISO 4217 code in capitals, for example USD. farmd.toml:2",
        ),
        ("[shipping]\nflat = 8.0", "[shipping] flat: expected text in quotes, found a number. farmd.toml:2"),
        (
            "[shipping]\nflat = '8.005'",
            '[shipping] flat: 8.005 has more than the 2 decimals of USD; write it like "8.00". farmd.toml:2',
        ),
        ("[shipping]\nflat = '-1'", "[shipping] flat: an amount cannot be negative. farmd.toml:2"),
        ("[tax]\nrate = '8.26'", '[tax] rate: use a fraction in quotes: 8.26 % is "0.0826". farmd.toml:2'),
        ("[tax]\nbase = 'all'", "[tax] base: expected 'items' or 'items+shipping'. farmd.toml:2"),
        ("[webhooks]\nallow = ['http://n8n']", "[webhooks] allow: use a host name, an address or a network"),
        ("[store]\nurl = 'mysql://u:hidden@h/d'", "[store] url: use sqlite:///farmd.db (a file beside this one) or"),
        (
            "[payments]\nprovider = 'stripe'\nstripe.mode = 'poll'",
            "[payments.stripe] api_key is missing: the provider is stripe. farmd.toml:3",
        ),
        ("[payments.stripe]\napi_key = 'pk_hidden'", "[payments.stripe] api_key: this is not a secret key of Stripe"),
        ("[[printers]]\nid = 'a'", "[[printers]] a: driver is missing. farmd.toml:1"),
        ("[[printers]]\ndriver = 'octoprint'", "[[printers]] number 1: id is missing. farmd.toml:1"),
        ("[[printers]]\nid = 'MK3 01'\ndriver = 'octoprint'", "[[printers]] MK3 01: id: use lower-case letters"),
        ("[[printers]]\nid = 'a'\ndriver = 'octoprnt'", "[[printers]] a: there is no driver octoprnt; did you mean octoprint?"),
        (
            "[[printers]]\nid = 'a'\ndriver = 'octoprint'\napikey = 'hidden'",
            "[[printers]] a: apikey: did you mean api_key? farmd.toml:4",
        ),
        (
            "[[printers]]\nid = 'a'\ndriver = 'octoprint'\nbed = [\n1, 2]",
            "[[printers]] a: bed: expected three numbers, [x, y, z] in mm, found a list. farmd.toml:4",
        ),
        (
            "[[printers]]\nid='a'\ndriver='gcode'\n[[printers]]\nid='a'\ndriver='gcode'",
            "the id already belongs to printer number 1",
        ),
        ("port = ", "farmd.toml is not TOML: Invalid value (at end of document)"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_cure(tmp_path, text, words):
    complaint = refusal(tmp_path, text)
    assert words in complaint
    assert "hidden" not in complaint
    assert "\n" not in complaint


def test_every_mistake_is_told_and_the_first_stands_for_them(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean host.*and 1 more: `farmd doctor`") as caught:
        load(tmp_path, "[server]\nhots = 'x'\nport = 'y'")
    assert len(caught.value.problems) == 2


def test_the_second_printers_line_is_named_after_multi_line_values(tmp_path):
    text = "[[printers]]\nid='a'\ndriver='gcode'\nbed = [\n 1,\n 2,\n 3]\n\n# note\n[[printers]]\nid='b'\ndriver='gcode'\nbaudd=1\n"
    assert refusal(tmp_path, text) == "[[printers]] b: baudd: did you mean baud? farmd.toml:13"


def test_the_environment_wins_and_keeps_types(tmp_path):
    environ = {
        "FARMD__SERVER__PORT": "9001",
        "FARMD__WEBHOOKS__ALLOW": "10.0.0.0/8, n8n",
        "FARMD__TAX__RATE": "0.1",
        "FARMD__PRINTERS__MK3_01__API_KEY": "12345678",
        "FARMD__PRINTERS__MK3_01__NOZZLE": "0.6",
    }
    settings = load(tmp_path, WHOLE, environ)
    assert settings.port == 9001
    assert settings.webhook_allow == ("10.0.0.0/8", "n8n")
    assert settings.tax.rate == Decimal("0.1")
    assert settings.printers[0].options["api_key"] == "12345678"
    assert settings.printers[0].nozzle == 0.6


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("FARMD__SERVER__PROT", "prot: did you mean port? environment variable FARMD__SERVER__PROT"),
        ("FARMD__PRINTERS__MK4__API_KEY", "environment variable FARMD__PRINTERS__MK4__API_KEY: no such printer"),
        ("FARMD__PRINTERS", "no such printer"),
        ("FARMD__SERVER__PORT", "port: expected a whole number, found text. environment variable FARMD__SERVER__PORT"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path, name, words):
    assert words in refusal(tmp_path, WHOLE, {name: "hidden"})


def test_a_secret_from_a_file_beside_the_configuration(tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    settings = load(tmp_path, WHOLE.replace('api_key = "very-secret"', 'api_key_file = "key"'))
    assert settings.printers[0].options["api_key"] == "from-file"


def test_stripe_secrets_from_files(tmp_path):
    (tmp_path / "sk").write_text("sk_test_1")
    (tmp_path / "hooks").write_text("whsec_a\nwhsec_b\n")
    text = "[payments]\nprovider = 'stripe'\n[payments.stripe]\napi_key_file = 'sk'\nwebhook_secrets_file = 'hooks'\n"
    stripe = load(tmp_path, text).stripe
    assert (stripe.api_key, stripe.webhook_secrets) == ("sk_test_1", ("whsec_a", "whsec_b"))
    assert (stripe.mode, stripe.sweep_seconds) == ("both", 300)
    assert "sk_test_1" not in repr(stripe)
    assert "whsec_a" not in repr(stripe)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "api_key_file: cannot read key: No such file"), ("\n", "api_key_file: key is empty")]
)
def test_a_secret_file_that_does_not_help(tmp_path, content, words):
    if content is not None:
        (tmp_path / "key").write_text(content)
    complaint = refusal(tmp_path, WHOLE.replace('api_key = "very-secret"', 'api_key_file = "key"'))
    assert words in complaint
    assert complaint.endswith("farmd.toml:21")


def test_a_secret_given_twice(tmp_path):
    complaint = refusal(tmp_path, WHOLE.replace("bed =", 'api_key_file = "key"\nbed ='))
    assert "give either api_key or api_key_file, not both" in complaint


def test_systemd_credentials_win_over_the_file_and_the_environment_over_both(tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "mk3-01.api_key").write_text("from-systemd\n")
    (folder / "stripe.api_key").write_text("sk_live_1")
    (folder / "unrelated").write_text("x")
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    settings = load(tmp_path, WHOLE, environ)
    assert settings.printers[0].options["api_key"] == "from-systemd"
    assert settings.stripe.api_key == "sk_live_1"
    environ["FARMD__PRINTERS__MK3_01__API_KEY"] = "from-environment"
    assert load(tmp_path, WHOLE, environ).printers[0].options["api_key"] == "from-environment"


def test_no_secret_in_repr(tmp_path):
    assert "very-secret" not in repr(load(tmp_path, WHOLE))


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration at .*nowhere.toml: copy farmd.example.toml"):
        load_settings(tmp_path / "nowhere.toml", {}, DRIVERS)


def test_farmd_config_names_the_file(tmp_path):
    (tmp_path / "x.toml").write_text("[server]\nport = 1234\n")
    assert load_settings(None, {"FARMD_CONFIG": str(tmp_path / "x.toml")}, DRIVERS).port == 1234


def test_the_installed_drivers_tell_their_options():
    assert option_names()["octoprint"] == {"url", "api_key"}
