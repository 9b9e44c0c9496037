"""The OpenAPI 3.2 document: FastAPI's, with problem reports in the place of its error schemas, and with examples."""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import compile_path

from app.api import webhooks
from app.api.callbacks import PATHS as CALLBACK_PATHS
from app.api.examples import example_of, problem_example
from app.api.problem import MEDIA_TYPE, Problem
from app.api.schemas.fields import LARGEST
from app.api.source_config import Configured
from app.sources.kinds import KINDS
from app.targets.kinds import KINDS as TARGET_KINDS

REF: Final = "#/components/schemas/"
ALWAYS: Final = {401: "request.unauthorized", 413: "request.too_large", 422: "request.invalid", 500: "server.error"}
DROPPED: Final = ("HTTPValidationError", "ValidationError")
TAGS: Final = [
    {"name": "Sources", "description": "Where a directory comes from, and how it is called back."},
    {"name": "Runs", "description": "Syncs: what they do, did or would do."},
    {"name": "Directory", "description": "People and departments as last read, and what changed."},
    {"name": "Targets", "description": "Where the directory is brought to, and what is on its way."},
    {"name": "Incoming events", "description": "Callbacks as they came in, and what became of them."},
    {"name": "Callback", "description": "Where WeCom sends its events."},
    {"name": "Webhooks", "description": "What a webhook target posts (Standard Webhooks 1.0)."},
    {"name": "Service", "description": "For monitoring."},
]
DESCRIPTION: Final = (
    "Keeps a copy of your WeCom (企业微信) directory in sync. Every list comes in pages; every error is a problem "
    "report (RFC 9457) with a stable `code`: [all codes](docs/errors). Texts follow `Accept-Language` (en, zh-CN, fr)."
)

Document = dict[str, Any]


def build(app: FastAPI) -> Document:
    """The document of an application with all its routes."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.2.0",
        summary="The WeCom directory, kept in sync",
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        routes=app.routes,
        tags=TAGS,
        servers=[{"url": "/", "description": "This service"}],
    )
    document["paths"] |= CALLBACK_PATHS
    schemas = document["components"]["schemas"]
    for name in DROPPED:
        schemas.pop(name, None)
    document["webhooks"], told = webhooks.described(REF)
    schemas |= told
    _add_problem(schemas)
    _add_configurations(schemas)
    for operation in operations(document):
        _add_examples(operation)
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _present(parameter["schema"])
        if "requestBody" in operation and "Callback" not in operation["tags"]:
            operation["responses"].setdefault("400", _described(400, ("request.malformed",)))
    _restore_bounds(document)
    return document


def allowed_methods(document: Document) -> list[tuple[re.Pattern[str], str]]:
    """What each path takes, as the `Allow` header says it."""
    return [
        (compile_path(path)[0], ", ".join(sorted(method.upper() for method in item)))
        for path, item in document["paths"].items()
    ]


def operations(document: Document) -> Iterator[Document]:
    """Every operation of a document."""
    for item in document["paths"].values():
        yield from item.values()


def query_names(document: Document) -> dict[str, frozenset[str]]:
    """The query parameters that each operation takes, by operationId."""
    return {
        operation["operationId"]: frozenset(p["name"] for p in operation.get("parameters", ()) if p["in"] == "query")
        for operation in operations(document)
    }


def problems(codes: Mapping[int, str | tuple[str, ...]]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: the codes that it may answer beside those that everything may."""
    return {
        status: _described(status, (named,) if isinstance(named, str) else named) for status, named in codes.items()
    }


def always() -> dict[int | str, dict[str, Any]]:
    """`responses=` of everything under /api/v1."""
    return problems(ALWAYS)


def _described(status: int, codes: tuple[str, ...]) -> dict[str, Any]:
    examples = {code: {"value": problem_example(code, status)} for code in codes}
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{REF}Problem"}, "examples": examples}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _present(schema: Document) -> Document:
    """The schema of a parameter that is there; in a query, null is but a word."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    present: Document = {name: value for name, value in schema.items() if name != "anyOf"} | kinds[0]
    return present


def _restore_bounds(node: Any) -> None:
    """FastAPI writes limits as floats, which cannot say 2**63 - 1."""
    if isinstance(node, dict):
        for name in ("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"):
            bound = node.get(name)
            if isinstance(bound, float) and bound.is_integer():
                node[name] = min(int(bound), LARGEST) if name == "maximum" else int(bound)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _restore_bounds(child)


def _add_problem(schemas: Document) -> None:
    schema = Problem.model_json_schema(ref_template=REF + "{model}")
    schemas |= schema.pop("$defs")
    schemas["Problem"] = schema


def _add_configurations(schemas: Document) -> None:
    """Show what `config` is: it is validated by the kind of the source or target, not by the body."""
    _add_kinds(schemas, "Source", KINDS)
    _add_kinds(schemas, "Target", TARGET_KINDS)
    kind = {"type": "string", "enum": list(KINDS), "description": "Only the present kind is taken."}
    schemas["SourceChange"]["properties"] |= {"kind": kind}


def _add_kinds(schemas: Document, noun: str, kinds: Mapping[str, Configured]) -> None:
    given, changed = [], []
    for kind in kinds.values():
        schema = kind.config.model_json_schema(ref_template=REF + "{model}")
        schemas |= schema.pop("$defs", {})
        name = kind.config.__name__
        schemas[name] = schema
        schemas[f"{name}Change"] = _as_change(schema, kind.secret_fields, f"{name}Change")
        given.append({"$ref": f"{REF}{name}"})
        changed.append({"$ref": f"{REF}{name}Change"})
    schemas[f"{noun}New"]["properties"] |= {"config": {"oneOf": given}}
    schemas[f"{noun}New"]["properties"]["kind"] |= {"enum": list(kinds)}
    schemas[f"{noun}Change"]["properties"] |= {"config": {"oneOf": changed}}


def _as_change(schema: Document, secrets: tuple[str, ...], title: str) -> Document:
    """Nothing is required, null removes, and a secret may be `{"set": true}`."""
    kept = {
        "type": "object",
        "properties": {"set": {"const": True}},
        "required": ["set"],
        "additionalProperties": False,
    }
    null = {"type": "null"}
    properties = {
        name: {"anyOf": [own, null, *([kept] if name in secrets else [])]} for name, own in schema["properties"].items()
    }
    return {"type": "object", "title": title, "properties": properties, "additionalProperties": False}


def _add_examples(operation: Document) -> None:
    contents = [operation.get("requestBody", {}).get("content", {})]
    contents += [answer.get("content", {}) for answer in operation["responses"].values()]
    for content in contents:
        body = content.get("application/json", {})
        name = body.get("schema", {}).get("$ref", "").removeprefix(REF)
        example = example_of(name)
        if example is not None:
            body["example"] = example
