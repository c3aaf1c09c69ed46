"""The API's own description: OpenAPI with its problem answers, and a page to read it on that needs no network.

Swagger's page would load its script from somewhere else; a farm's network often has no way out.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from jinja2 import Environment
from pydantic import TypeAdapter
from starlette.responses import HTMLResponse

from farmd.api.auth import admin, operator
from farmd.api.shapes import ANSWERS

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "detail", "instance", "code", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "Stable; branch on this"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901 in the body, ?name for a query parameter"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_REFUSALS = {
    "400": "The body is not what it should be at all",
    "401": "No key, or none that is valid",
    "403": "The key's role may not do this",
    "404": "There is nothing of this name, or this key may not know of it",
    "409": "Not in the state it is in",
    "413": "The body is too long",
    "415": "The body is of another kind",
    "422": "A field has something that it cannot have; `errors` names each",
    "503": "Not possible at this moment; nothing was changed",
    "507": "The farm's disk is full",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body is answered once and repeated from then on",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_PAGE = Environment(autoescape=True).from_string(
    """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>farmd API</title><style>
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:62rem;margin:2rem auto;padding:0 1rem}
code,pre{font:13px/1.45 ui-monospace,monospace}summary{cursor:pointer;padding:.3rem 0}pre{overflow:auto}
.verb{display:inline-block;min-width:4.2em;font-weight:600}h2{border-bottom:1px solid #8884;margin-top:2rem}
</style><h1>farmd API</h1><p>Send a key in <code>X-API-Key</code>; <code>farmd keys create</code> makes one.
The whole description: <a href="/openapi.json">/openapi.json</a>.</p>
{% for tag, operations in groups %}<h2>{{ tag }}</h2>{% for o in operations %}
<details><summary><code><span class="verb">{{ o.verb }}</span>{{ o.path }}</code> {{ o.summary }}</summary>
<p>{{ o.description }}</p>
{% if o.parameters %}<ul>{% for p in o.parameters %}<li><code>{{ p.name }}</code> in {{ p['in'] }}{{ " (required)" if p.required }}
{{ p.description or "" }}</li>{% endfor %}</ul>{% endif %}
{% if o.body %}<p>Body</p><pre>{{ o.body }}</pre>{% endif %}</details>{% endfor %}{% endfor %}</html>"""
)


def describe(app: FastAPI) -> None:
    """Serve `/docs` and let `/openapi.json` tell how refusals look."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            app.openapi_schema = _with_answers(_with_problems(described, _guarded(app)))
        return app.openapi_schema

    async def docs(_request: Request) -> HTMLResponse:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(_PAGE.render(groups=_groups(openapi())), headers=headers)

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend the description
    app.add_api_route("/docs", docs, include_in_schema=False)


def _guarded(app: FastAPI) -> set[str]:
    """The operations, as `verb path`, that not every key may call."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    named = {f"{verb.lower()} {route.path}" for route in routes for verb in route.methods or () if _asks_role(route.dependant)}
    return named | {"post /api/orders"}  # a customer's key orders for its own customer only


def _asks_role(dependant: Dependant) -> bool:
    return dependant.call in (operator, admin) or any(_asks_role(each) for each in dependant.dependencies)


def _with_problems(schema: dict[str, Any], guarded: set[str]) -> dict[str, Any]:
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, verbs in schema["paths"].items():
        for verb, operation in verbs.items():
            operation["responses"].pop("422", None)
            if verb == "post" and path.startswith("/api/"):
                operation.setdefault("parameters", []).append(_KEY)
            for status in sorted(_refusals(path, verb, operation) | ({"403"} if f"{verb} {path}" in guarded else set())):
                operation["responses"][status] = {"description": _REFUSALS[status], "content": content}
    return schema


def _refusals(path: str, verb: str, operation: dict[str, Any]) -> set[str]:
    """What the door and the handlers of such an operation may answer beside success."""
    if not path.startswith("/api/"):
        if path == "/healthz":
            return {"413"}
        return {"400", "503"} if verb == "post" else {"413", "503"}
    found = {"401", "413", "415", "503"}
    if "{" in path:
        found.add("404")
    if operation.get("parameters") or "requestBody" in operation:
        found.add("422")
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        found.add("400")
    if verb in ("post", "patch", "put"):
        found.add("409")
    if path.endswith("/model"):
        found.add("507")
    return found


def _with_answers(schema: dict[str, Any]) -> dict[str, Any]:
    """The same with the shape of every answer that is JSON."""
    wanted = {shape.__name__: shape for shape in ANSWERS.values()}
    adapters = [(name, "serialization", TypeAdapter(shape)) for name, shape in wanted.items()]
    known, definitions = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schema["components"]["schemas"] |= definitions.get("$defs", {})
    for place, shape in ANSWERS.items():
        verb, path = place.split(" ")
        content = {"application/json": {"schema": known[(shape.__name__, "serialization")]}}
        for status, response in schema["paths"][path][verb]["responses"].items():
            if status.startswith("2"):
                response["content"] = content
    return schema


def _groups(schema: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, verbs in schema["paths"].items():
        for verb, operation in verbs.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(
                {
                    "verb": verb.upper(),
                    "path": path,
                    "summary": operation.get("summary", ""),
                    "description": operation.get("description", ""),
                    "parameters": operation.get("parameters", []),
                    "body": _body(schema, operation),
                }
            )
    return sorted(groups.items())


def _body(schema: dict[str, Any], operation: dict[str, Any]) -> str:
    """The keys of a JSON body with their types, one a line."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    reference = next((each["$ref"] for each in (content, *content.get("anyOf", ())) if "$ref" in each), None)
    if reference is None:
        return ""
    model = schema["components"]["schemas"][reference.rpartition("/")[2]]
    required = model.get("required", ())
    return "\n".join(
        f"{name}{'' if name in required else '?'}: {_kind(kind)}" for name, kind in model.get("properties", {}).items()
    )


def _kind(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        return str(kind["$ref"].rpartition("/")[2])
    if "anyOf" in kind:
        return " or ".join(_kind(each) for each in kind["anyOf"])
    if kind.get("type") == "array":
        return f"[{_kind(kind.get('items', {}))}]"
    return str(kind.get("type", "any"))
