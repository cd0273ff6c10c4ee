"""Requests made up from what OpenAPI promises, right ones and wrong ones: nothing breaks, and answers are what is promised."""

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="the API is tried with schemathesis: pip install schemathesis")
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance  # noqa: E402

OPERATIONS = {"/v1/signs": "POST", "/v1/signs/stream": "POST", "/v1/model": "GET", "/v1/health": "GET"}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def promised(service):
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


def tried(cases) -> list[int]:
    """The statuses of what was asked."""
    statuses = []

    @settings(
        max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=cases)
    def ask(case):
        answer = case.call(timeout=60)
        statuses.append(answer.status_code)
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert {"title", "status", "detail"} <= answer.json().keys()

    ask()
    return statuses


def test_all_operations_are_tried(promised):
    assert {operation.ok().path: operation.ok().method.upper() for operation in promised.get_all_operations()} == OPERATIONS


def sayable(case):
    """With a text that the model can say, and no longer than a moment."""
    if isinstance(case.body, dict) and "text" in case.body:
        case.body |= {"text": "cab", "duration": 1}
        case.body |= {name: min(case.body[name], 60) for name in ("steps", "guidance", "fps") if case.body.get(name)}
        case.body |= {"steps": min(case.body["steps"], 5)} if case.body.get("steps") else {}
    return case


@pytest.mark.parametrize("path", ["/v1/signs", "/v1/signs/stream"])
def test_what_can_be_said_is_signed(promised, path):
    statuses = tried(promised[path]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE).map(sayable))
    assert statuses.count(200) >= 5


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", OPERATIONS)
def test_answers_are_what_is_promised(promised, path, mode):
    try:
        tried(promised[path][OPERATIONS[path]].as_strategy(generation_mode=mode))
    except Unsatisfiable:
        assert OPERATIONS[path] == "GET"  # with nothing that could be wrong
