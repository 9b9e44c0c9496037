"""The OpenAPI document: valid, complete, and true to what is answered."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_spec_validator import validate
from pydantic import BaseModel

from app.api import openapi
from app.api.examples import EXAMPLES
from app.api.health import Health, Readiness
from app.api.problem import Problem
from app.api.schemas import directory, events, runs, sources, targets, webhooks
from app.main import create_app
from app.settings import Settings
from tests.api.harness import Api

DELETIONS = ("delete_source", "delete_target")
PUBLIC = {"get_health", "get_readiness", "verify_callback", "receive_callback"}


@pytest.fixture(scope="module")
def application() -> FastAPI:
    return create_app(Settings())


@pytest.fixture(scope="module")
def document(application: FastAPI) -> dict[str, Any]:
    return application.openapi()


def test_the_document_is_valid_as_openapi_3_2(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.2.0"
    validate(document)


def test_every_promised_call_is_there(document: dict[str, Any]) -> None:
    promised = """
        POST /sources|GET /sources|GET /sources/{}|PATCH /sources/{}|DELETE /sources/{}
        POST /sources/{}/callback-credentials|POST /sources/{}/check|POST /sources/{}/runs
        GET /runs|GET /runs/{}|GET /runs/{}/changes|POST /runs/{}/approval|POST /runs/{}/cancellation
        POST /runs/{}/retry|GET /runs/{}/stream
        GET /users|GET /users/{}|GET /users/{}/history|GET /departments|GET /departments/{}|GET /departments/{}/history
        GET /changes|GET /export/users.csv|GET /export/users.json
        GET /export/departments.csv|GET /export/departments.json|GET /export/directory.ldif
        GET /events|GET /events/{}|POST /events/{}/replay
        POST /targets|GET /targets|GET /targets/{}|PATCH /targets/{}|DELETE /targets/{}|POST /targets/{}/check
        POST /targets/{}/secret|POST /targets/{}/resync|GET /targets/{}/deliveries
        GET /deliveries/{}|POST /deliveries/{}/retry
    """
    calls = {f"{line.split()[0]} /api/v1{line.split()[1]}" for line in re.split(r"[|\n]", promised) if line.strip()}
    calls |= {"GET /callbacks/{}", "POST /callbacks/{}", "GET /healthz", "GET /readyz", "GET /metrics"}
    found = {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"
        for path, item in document["paths"].items()
        for method in item
    }
    assert found == calls


def test_every_operation_is_described_whole(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in openapi.operations(document)]
    assert len(ids) == len(set(ids))
    tags = {tag["name"] for tag in document["tags"]}
    for operation in openapi.operations(document):
        name = operation["operationId"]
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), name
        assert set(operation["tags"]) <= tags, name
        assert operation["summary"] != name.replace("_", " ").title(), name
        assert operation.get("security", []) == ([] if name in PUBLIC else [{"adminToken": []}]), name
        assert any(True for _ in examples_of(operation)), name
        assert any(True for _ in examples_of({"responses": successes(operation)})) or name in DELETIONS, name


def test_errors_are_problem_reports_and_nothing_else(document: dict[str, Any]) -> None:
    for operation in openapi.operations(document):
        for status, answer in operation["responses"].items():
            if int(status) < 400 or operation["tags"] == ["Callback"]:
                continue
            assert list(answer["content"]) == ["application/problem+json"], operation["operationId"]
            for example in answer["content"]["application/problem+json"]["examples"].values():
                Problem.model_validate(example["value"], extra="forbid")
                assert example["value"]["status"] == int(status)
        if operation["operationId"] not in PUBLIC | {"get_metrics"}:
            assert {"401", "422", "500"} <= set(operation["responses"])
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    wanted = {ref.removeprefix(openapi.REF) for ref in references(document)}
    assert wanted <= set(schemas)
    assert set(schemas) - wanted <= {"ProgressOut"}


def test_examples_are_what_the_schemas_say() -> None:
    modules = (directory, events, runs, sources, targets, webhooks)
    models = {name: model for module in modules for name, model in vars(module).items() if is_model(model)}
    models |= {"Health": Health, "Readiness": Readiness}
    for name, example in EXAMPLES.items():
        model = models[name]
        assert model.model_validate(example).model_dump(mode="json", exclude_unset=True) == example, name


def test_secrets_are_write_only(document: dict[str, Any]) -> None:
    config = document["components"]["schemas"]["WeComConfig"]["properties"]
    for name in ("app_secret", "contacts_secret", "token", "encoding_aes_key", "proxy"):
        assert "writeOnly" in str(config[name]), name


async def test_the_document_is_served_as_built(light: Api) -> None:
    answer = await light.client.get("/openapi.json", headers={"Authorization": ""})
    assert answer.json() == light.app.openapi()


@pytest.mark.parametrize("language", ["en", "zh-CN", "fr"])
async def test_every_code_is_explained_in_the_readers_language(light: Api, language: str) -> None:
    answer = await light.client.get("/docs/errors", headers={"Accept-Language": language, "Authorization": ""})
    assert f'<html lang="{language}">' in answer.text
    assert 'id="run.already_active"' in answer.text
    assert 'id="wecom.ip_not_trusted"' in answer.text
    assert "<script" not in answer.text


def is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def successes(operation: dict[str, Any]) -> dict[str, Any]:
    return {status: answer for status, answer in operation["responses"].items() if int(status) < 400}


def examples_of(operation: dict[str, Any]) -> Iterator[Any]:
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for content in body.get("content", {}).values():
            yield from content.get("examples", {}).values()
            yield from [content["example"]] if "example" in content else []


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
