"""What the journal gets: JSON lines with ids, and never a secret."""

import json
import subprocess
import sys

SCRIPT = """
import logging, structlog
from farmd.logs import configure
configure()
structlog.get_logger().bind(printer="p1").info("printer.seen", api_key="abcdef", text="fk_0a1b_SECRETSECRET whsec_SECRETSECRET")
logging.getLogger("drivers.octoprint").warning("link lost: %s", "fk_0a1b_SECRETSECRET")
logging.getLogger("httpx").info("GET http://127.0.0.1/?apikey=SECRET")
try:
    raise ValueError("sk_test_SECRETSECRET")
except ValueError:
    structlog.get_logger().exception("step.broke")
"""


def test_lines_are_json_and_hold_no_secret():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=True)
    assert "SECRET" not in done.stderr
    assert "abcdef" not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["printer.seen", "link lost: fk_0a1b_***", "step.broke"]
    assert lines[0]["printer"] == "p1"
    assert lines[0]["level"] == "info"
    assert "ValueError" in lines[2]["exception"]
