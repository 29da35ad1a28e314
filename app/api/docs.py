"""The contract in its living form: the OpenAPI document, and a page to read it."""

from __future__ import annotations

import json
import re
from typing import Any

from apiflask import APIBlueprint, APIFlask
from flask import Flask, Response, current_app, jsonify, render_template

from app.schemas.common import Problem
from app.web.auth import PUBLIC, SIGN_IN

bp = APIBlueprint("docs", __name__, enable_openapi=False)

_REF = "#/components/schemas/"
_PROBLEM = {"$ref": _REF + "Problem"}
_REFUSALS = {
    "400": "Malformed",
    "401": "Not signed in",
    "403": "Not allowed by role or scope",
    "404": "Not there, or not yours",
    "405": "Not a method of this address",
    "409": "Conflict with the current state",
    "413": "Too large",
    "415": "Not JSON",
    "422": "Understood but invalid",
    "429": "Too many requests; see Retry-After",
    "503": "Not now; nothing was done",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body within 24 hours: done once, answered alike.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "jt_session",
        "description": "Unsafe methods need the CSRF token in X-CSRFToken too.",
    },
}


def configure(app: APIFlask) -> None:
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_AUTH_ERROR_RESPONSE=False,
        AUTO_SERVERS=False,
        AUTO_OPERATION_ID=True,
        SECURITY_SCHEMES=_SCHEMES,
    )
    app.spec_processor(complete)


@bp.get("/openapi.json")
def openapi() -> Response:
    return jsonify(document(current_app))


@bp.get("/docs/")
def browse() -> str:
    return render_template("pages/api_docs.html", spec=document(current_app))


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document, made once per app: its routes do not change any more."""
    if "openapi" not in app.extensions:
        app.extensions["openapi"] = app.spec  # type: ignore[attr-defined]
    made: dict[str, Any] = app.extensions["openapi"]
    return made


def complete(spec: dict[str, Any] | str) -> dict[str, Any] | str:
    """Add what holds for every operation: refusals, proof of who asks, idempotency keys."""
    if isinstance(spec, str):
        raise TypeError("the document is made as JSON")
    spec["servers"] = [{"url": "/"}]
    spec["security"] = [{"bearer": []}, {"session": []}]
    used = {tag for path in spec["paths"].values() for op in path.values() for tag in op["tags"]}
    spec["tags"] = [{"name": name} for name in sorted(used)]
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(mode="serialization", ref_template=_REF + "{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            _complete_operation(path, method, operation)
    return _with_short_names(spec)


def _with_short_names(spec: dict[str, Any]) -> dict[str, Any]:
    """A shape inside another one is named ``Outer.Inner``: where all of them are alike, one
    ``Inner`` is enough."""
    schemas: dict[str, Any] = spec["components"]["schemas"]
    text = json.dumps(spec)
    for name in sorted(schemas):
        short = name.rpartition(".")[2]
        bodies = [_body(schemas, n) for n in schemas if n.rpartition(".")[2] == short]
        if short != name and all(body == bodies[0] for body in bodies):
            text = text.replace(f'"{_REF}{name}"', f'"{_REF}{short}"')
    shortened: dict[str, Any] = json.loads(text)
    used = shortened["components"]["schemas"]
    for name in sorted(schemas):
        if f'"{_REF}{name}"' not in text and "." in name:
            used.setdefault(name.rpartition(".")[2], used.pop(name))
    return shortened


def _body(schemas: dict[str, Any], name: str) -> str:
    """A shape as text in which references read alike, whatever they are nested in."""
    return re.sub(rf'"{_REF}([^".]+\.)?', f'"{_REF}', json.dumps(schemas[name], sort_keys=True))


def _complete_operation(path: str, method: str, operation: dict[str, Any]) -> None:
    endpoint = operation["operationId"]
    operation["operationId"] = endpoint.replace(f"{method}_api_", "", 1)
    if _is_open(path):
        operation["security"] = []
    if method not in ("get", "head"):
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    for status, description in _REFUSALS.items():
        operation["responses"].setdefault(status, _refusal(description))
    operation["responses"].setdefault("default", _refusal("Any other refusal"))


def _refusal(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }


def _is_open(path: str) -> bool:
    endpoint = "api." + path.strip("/").removeprefix("api/").replace("/", ".")
    return endpoint in PUBLIC | SIGN_IN
