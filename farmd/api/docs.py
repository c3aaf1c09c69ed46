"""The API's own description: OpenAPI with its problem answers, and a page to read it on that needs no network.

Swagger's page would load its script from somewhere else; a farm's network often has no way out.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from jinja2 import Environment
from starlette.responses import HTMLResponse

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
    "4XX": "Refused; nothing was changed",
    "503": "Not possible at this moment; nothing was changed",
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
            app.openapi_schema = _with_problems(
                get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            )
        return app.openapi_schema

    async def docs(_request: Request) -> HTMLResponse:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(_PAGE.render(groups=_groups(openapi())), headers=headers)

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend the description
    app.add_api_route("/docs", docs, include_in_schema=False)


def _with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for verb, operation in _operations(schema):
        operation["responses"].pop("422", None)
        for status, description in _REFUSALS.items():
            operation["responses"][status] = {"description": description, "content": content}
        if verb == "post":
            operation.setdefault("parameters", []).append(_KEY)
    return schema


def _operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(verb, operation) for path in schema["paths"].values() for verb, operation in path.items()]


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
