"""The documents against the code: what the README and docs/states.md say exists, and what exists they say."""

import ast
import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from drivers.contract import Concern
from farmd.cli import run
from farmd.cli.app import app
from farmd.config_models import Document, Shipping, Tax
from farmd.domain.events import EVENT_TYPES
from farmd.fleet.drivers import option_names
from tests.farm import open_farm

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.M | re.S)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S)
SHELL = "\n".join(text.replace("\\\n", " ") for kind, text in BLOCKS if kind == "sh")
INLINE = re.findall(r"`([^`\n]+)`", PROSE)
PAGES = {"/", "/docs", "/openapi.json"}


def commands(command, path=()):
    inner = getattr(command, "commands", None)
    if inner is None:
        return {path}
    return {each for name, one in inner.items() for each in commands(one, (*path, name))}


COMMANDS = commands(get_command(app))
NOUNS = {path[0] for path in COMMANDS if len(path) == 2}


def farmd_lines():
    """Every command line of farmd's in the README, in blocks and in the text."""
    found = re.findall(r"(?:^|\$\(|-u farmd )(farmd [^#)\n]*)", SHELL, re.M)
    return sorted({line.strip() for line in found + [text for text in INLINE if text.startswith("farmd ")]})


def rows(heading):
    """The cells of the rows of the first table under a heading."""
    section = PROSE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.M)
    assert table, f"no table under {heading}"
    return [cells(line) for line in table.group().splitlines()[2:]]


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_the_states_are_written_from_the_tables():
    written = subprocess.run([sys.executable, ROOT / "docs" / "states.py"], capture_output=True, text=True, check=True, timeout=60)
    assert (ROOT / "docs" / "states.md").read_text() == written.stdout, "run: .venv/bin/python docs/states.py > docs/states.md"


@pytest.mark.parametrize("line", farmd_lines())
def test_a_command_line_of_the_readme_exists(line, capsys):
    words = shlex.split(line)[1:]
    if words[0] in NOUNS and len(words) == 1:
        return  # a noun alone, in the table of commands
    path = tuple(words[: 2 if words[0] in NOUNS else 1])
    assert path in COMMANDS, f"there is no command farmd {' '.join(path)}"
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert [option for option in options if not re.search(rf"{option}\b", shown)] == []


def test_the_readme_names_every_command():
    told = {}
    for command, verbs, _ in rows("Commands"):
        told[command.strip("`").split()[1]] = set(re.findall(r"`([\w-]+)`", verbs))
    assert {(name, verb) for name, verbs in told.items() for verb in verbs} | {
        (name,) for name in told if not told[name]
    } == COMMANDS


def requests():
    """(method, path) of every HTTP request the README shows."""
    found = []
    for line in SHELL.splitlines() + INLINE:
        if match := re.search(r"""https?://(?:localhost|127\.0\.0\.1):8787(/[^\s"'?>]*)?""", line):
            method = re.search(r"-X (\w+)", line)
            found.append((method.group(1) if method else "PUT" if " -T " in line else "GET", match.group(1) or "/"))
        elif match := re.fullmatch(
            r"(?:(GET|POST|PUT|PATCH|DELETE) )?(/(?:api/|healthz|readyz|metrics|docs|openapi)[^\s?]*)[^\s]*", line
        ):
            found.append((match.group(1) or "GET", match.group(2)))
    found += [("GET", path or "/") for path in re.findall(r"<http://(?:localhost|127\.0\.0\.1):8787(/[^>]*)?>", PROSE)]
    return sorted(set(found))


def test_every_request_of_the_readme_has_its_route(tmp_path):
    async def paths():
        async with open_farm(tmp_path) as farm:
            served = {path: (await farm.stranger.get(path)).status_code for path in PAGES}
            return farm.app.openapi()["paths"], served

    described, served = asyncio.run(paths())
    assert set(served.values()) == {200}
    shown = requests()
    assert len(shown) > 12, shown
    for method, path in shown:
        fitting = [verbs for known, verbs in described.items() if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path)]
        assert any(method.lower() in verbs for verbs in fitting) or (method, path) in {("GET", page) for page in PAGES}, (
            method,
            path,
        )


def body_of(method, path):
    """The JSON that the README sends there."""
    call = re.search(rf"curl -X {method} \S*{path} +-H.*?-d '(.*?)'\n", SHELL, re.S)
    assert call, f"{method} {path} is not shown"
    return json.loads(call.group(1))


def test_the_order_of_the_readme_costs_what_the_readme_says(tmp_path):
    answer = next(json.loads(text) for kind, text in BLOCKS if kind == "json")

    async def story():
        async with open_farm(tmp_path) as farm:
            sku = await farm.admin.post("/api/skus", json=body_of("POST", "/api/skus"))
            placed = await farm.operator.post("/api/orders", json=body_of("POST", "/api/orders"))
            order = placed.json()
            calls = [("pay", 200), ("cancel", 200)]
            done = [
                (
                    await farm.operator.post(
                        f"/api/orders/{order['id']}/{verb}", json=body_of("POST", f"/api/orders/ord-abc123/{verb}")
                    )
                )
                for verb, _ in calls
            ]
            return sku.status_code, placed.status_code, order, [each.status_code for each in done], [code for _, code in calls]

    sku, placed, order, done, expected = asyncio.run(story())
    assert (sku, placed, done) == (201, 201, expected)
    for key in ("status", "customerId", "subtotal", "shipping", "tax", "total"):
        assert order[key] == answer[key], key
    (line,), (shown,) = order["lineItems"], answer["lineItems"]
    assert set(shown) <= set(line)
    assert {key: line[key] for key in shown if key != "id"} == {key: value for key, value in shown.items() if key != "id"}


LITERAL_AT = {"raise_attention": 2, "keep_attention": 2, "_hold": 1, "hold": 2, "_Waits": 0}
"""Which argument of a call is an attention code."""


def attention_codes():
    """Every code that can stand in `attention`, read from the source: rows' codes from the calls that raise them, live ones from
    the `{code, detail}` that the fleet shows, and what a driver may be concerned about."""
    codes = {concern.value for concern in Concern}
    for file in sorted((ROOT / "farmd").rglob("*.py")):
        text = file.read_text()
        shows = file.parent.name == "fleet" and "attention" in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in LITERAL_AT and len(node.args) > LITERAL_AT[name]:
                    found = constants(node.args[LITERAL_AT[name]])
                    assert found or name != "raise_attention" or file.name == "transitions.py", (
                        f"{file}:{node.lineno}: name the code"
                    )
                    codes |= found
                if name == "emit" and any(constants(argument) == {"printer.attention"} for argument in node.args):
                    codes |= {code for word in node.keywords if word.arg == "code" for code in constants(word.value)}
            elif shows and isinstance(node, ast.Dict):
                codes |= {
                    code
                    for key, value in zip(node.keys, node.values, strict=True)
                    if key and constants(key) == {"code"}
                    for code in constants(value)
                }
            elif shows and isinstance(node, ast.Assign) and [getattr(each, "id", "") for each in node.targets] == ["code"]:
                codes |= constants(node.value)
    return codes


def constants(node):
    """The texts an expression may be."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) | constants(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def test_the_readme_has_a_cure_for_every_attention_code():
    table = re.search(r"^\| code \| on \|.*\n\|.*\n((?:\|.*\n)+)", PROSE, re.M)
    assert table
    told = {re.match(r"\| `(\w+)` \|", line).group(1): line for line in table.group(1).splitlines()}
    found = attention_codes()
    assert {"attempt_unknown", "refund_due", "no_slicer", "bad_key", "unreachable", "quarantined"} <= found
    assert set(told) == found
    assert all(len(cells(line)) == 4 and all(cells(line)) for line in told.values())


def test_the_readme_has_every_key_of_the_configuration():
    told = {key for row in rows("Configuration") for key in re.findall(r"`([a-z_]+\.[a-z_]+)`", row[0])}
    known = {f"{section}.{key}" for section, field in Document.model_fields.items() for key in keys(field.annotation)}
    drivers = {f"printers.{option}" for options in option_names().values() for option in options}
    assert told == known | drivers
    told = {key for row in rows("Configuration") for key in re.findall(r"`([a-z_]+\.rules\.[a-z_]+)`", row[0])}
    assert told == {
        f"{name}.rules.{key}"
        for name, section in (("shipping", Shipping), ("tax", Tax))
        for key in keys(section.model_fields["rules"].annotation)
    }


def keys(annotation):
    inner = annotation.__args__[0] if hasattr(annotation, "__args__") else annotation
    return set(inner.model_fields)


def test_the_readme_names_events_that_exist():
    for word in re.findall(r"`((?:order|job|printer)\.[a-z_*]+)`", PROSE.split("## Events")[1].split("\n## ")[0]):
        assert word in EVENT_TYPES or any(each.startswith(word.removesuffix("*")) for each in EVENT_TYPES), word


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_a_page_points_at_files_that_are_there(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    named = re.findall(r"`((?:farmd|docs|config|systemd|tests|drivers)/[\w./-]+\.(?:py|toml|service|md))`", text)
    assert [path for path in links + named if not (ROOT / path).exists()] == []
