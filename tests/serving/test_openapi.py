"""The gateway's API schema and the page that shows it: valid, true, and without foreign scripts."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from riffusion.datatypes import InferenceInput
from riffusion.edit_fields import EDIT_MODES, MODES_OF_FIELD
from riffusion.errors import InputError
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.gateway.openapi import EXAMPLES, openapi_schema
from riffusion.serving.local.gateway_server import GatewayServer
from riffusion.serving.model.request_body import InferenceRequest
from tests.serving.conftest import TIMEOUT_S, free_port

SCHEMA = openapi_schema()
MAX_TESTED_CHARACTERS = 5000
"""Texts are tried up to this length; images and audio may be longer."""
EXCLUDED = {
    *("mode", "mask_image_id", "duration_s", "init_image", "init_audio", "mask_image"),
    *MODES_OF_FIELD,
}
"""Fields whose combinations have rules that a schema of single fields can't express."""
OF_ONE_MODE = ("ddpm",)
"""Values that only mode=unconditional takes, another such rule."""
ORDERED = "guidance_interval"
"""Its two bounds are numbers in ascending order, the one other rule of that kind."""


def validator(name: str) -> Draft202012Validator:
    """A validator for one of the named schemas."""
    return Draft202012Validator({**SCHEMA, "$ref": f"#/components/schemas/{name}"})


@pytest.fixture(scope="module")
def gateway() -> Iterator[httpx.Client]:
    app = create_gateway(Endpoint(f"http://127.0.0.1:{free_port()}"), library=SeedLibrary.default())
    with (
        GatewayServer(app) as server,
        httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S, trust_env=False) as client,
    ):
        yield client


def test_the_schema_is_valid_openapi(gateway: httpx.Client) -> None:
    schema = gateway.get("/openapi.json").json()
    assert schema == SCHEMA
    assert schema["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(schema).validate()


def test_schemas_have_no_unknown_keywords() -> None:
    annotations = {"title", "description", "default", "discriminator"}
    known = annotations | set(Draft202012Validator.VALIDATORS)

    def keywords(schema: Any) -> Iterator[str]:
        if not isinstance(schema, dict):
            return
        for key, value in schema.items():
            yield key
            if key in ("properties", "items", "anyOf", "oneOf", "allOf", "prefixItems"):
                children = value.values() if key == "properties" else value
                for child in [value] if key == "items" else children:
                    yield from keywords(child)

    for schema in SCHEMA["components"]["schemas"].values():
        assert set(keywords(schema)) <= known


def candidates(schema: dict[str, Any]) -> Iterator[Any]:
    """Values at, just inside and just outside the bounds of a schema, and of other types."""
    if "$ref" in schema:
        schema = SCHEMA["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield from (None, True, "", "x", [], {}, -1, 0.5)
    yield from (value for value in schema.get("enum", ()) if value not in OF_ONE_MODE)
    for part in schema.get("anyOf", [schema]):
        for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if bound in part and part["type"] == "integer":
                yield from (int(part[bound]) + delta for delta in (-1, 0, 1))
            elif bound in part:
                yield from (part[bound] + delta for delta in (-1e-6, 0.0, 1e-6))
        for bound in ("minLength", "maxLength"):
            if part.get(bound, MAX_TESTED_CHARACTERS) < MAX_TESTED_CHARACTERS:
                yield from ("x" * (part[bound] + delta) for delta in (-1, 0, 1) if part[bound])
        yield from (value for value in part.get("enum", ()) if value not in OF_ONE_MODE)


def fields(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Values for all required and some other fields of a schema, valid and invalid ones."""
    schema = SCHEMA["components"]["schemas"][name]
    choices = {
        field: st.sampled_from(list(candidates(values)))
        for field, values in schema["properties"].items()
        if field not in EXCLUDED and field != ORDERED and "$ref" not in values
    }
    required = {field: choices.pop(field) for field in schema["required"] if field in choices}
    return st.fixed_dictionaries(required, optional=choices)


prompts = fields("PromptInput")
good_prompt = st.just({"prompt": "bells", "seed": 1})
intervals = st.tuples(st.sampled_from([-0.1, 0, 0.5]), st.sampled_from([0.5, 1, 1.1])).map(list)
requests = st.builds(
    lambda values, ends: {**values, **ends},
    fields("InferenceInput"),
    st.fixed_dictionaries(
        {"start": good_prompt}, optional={"end": good_prompt, ORDERED: intervals}
    ),
)


@given(st.one_of(prompts.map(lambda prompt: {"start": prompt}), requests))
def test_the_schema_accepts_exactly_what_the_model_accepts(values: dict[str, Any]) -> None:
    assert_same_verdict(values)


@pytest.mark.parametrize("name", ["PromptInput", "InferenceInput"])
def test_every_bound_of_every_field_is_checked(name: str) -> None:
    for field, schema in SCHEMA["components"]["schemas"][name]["properties"].items():
        if field in EXCLUDED or "$ref" in schema:
            continue
        for value in candidates(schema):
            prompt = {"prompt": "bells", "seed": 1}
            if name == "PromptInput":
                assert_same_verdict({"start": {**prompt, field: value}})
            else:
                assert_same_verdict({"start": prompt, field: value})


EDITS = {
    "repaint": {"region": {"from_s": 1.0, "to_s": 2.0}},
    "restyle": {"prompts_at": [{"at_s": 1.0, "prompt": "flute"}]},
    "extend": {"after_s": 5.0},
    "between": {"init_audio_b": "UklGRg==", "num_clips": 4},
    "vary": {"amount": 0.5},
    "loop": {"beats": 4},
    "retime": {"tempo_bpm": 120.0},
    "stems": {},
    "remix": {"gain_db": {"drums": 6.0}, "mute": ["bass"], "restyle": {"harmonic": "choir"}},
    "follow": {},
}


def test_every_mode_that_edits_is_tried() -> None:
    assert set(EDITS) == set(EDIT_MODES)


@pytest.mark.parametrize("mode", EDITS)
def test_every_bound_of_an_edits_fields_is_checked(mode: str) -> None:
    """A null that a mode needs a value for is its own rule."""
    start = {"prompt": "bells", "seed": 1}
    request = {"start": start, "mode": mode, "init_audio": "UklGRg==", **EDITS[mode]}
    assert_same_verdict(request)
    properties = SCHEMA["components"]["schemas"]["InferenceInput"]["properties"]
    for field in EDITS[mode]:
        for value in candidates(properties[field]):
            if value is not None:
                assert_same_verdict({**request, field: value})


@pytest.mark.parametrize("fields", [{}, {"init_audio": "UklGRg=="}])
def test_every_bound_of_an_unconditional_request_is_checked(fields: dict[str, Any]) -> None:
    """The schema wants a prompt, as other modes do, so it is there and empty."""
    request = {"start": {"prompt": "", "seed": 1}, "mode": "unconditional", **fields}
    assert_same_verdict(request)
    properties = SCHEMA["components"]["schemas"]["InferenceInput"]["properties"]
    for field in ("num_inference_steps", "audio_format", "image_format", "deadline_s", "stream"):
        for value in candidates(properties[field]):
            assert_same_verdict({**request, field: value})
    schedulers = properties["scheduler"]["anyOf"][0]["enum"]
    assert "ddpm" in schedulers
    for scheduler in schedulers:
        is_accepted = scheduler in ("ddim", "ddpm")
        try:
            InferenceInput.parse({**request, "scheduler": scheduler})
        except InputError as error:
            assert not is_accepted, error
        else:
            assert is_accepted


def assert_same_verdict(values: dict[str, Any]) -> None:
    try:
        InferenceInput.parse(values)
    except InputError:
        is_accepted = False
    else:
        is_accepted = True
    assert validator("InferenceInput").is_valid(values) == is_accepted, values


def test_stream_events_are_told_apart() -> None:
    clip = {"image": "data:,", "audio": "data:,", "duration_s": 5.12}
    events = validator("StreamEvent")
    for event in (
        {"event": "progress", "step": 0, "steps": 20},
        {"event": "result", **clip},
        {"event": "result", **clip, "timings": {"audio": 0.1}},
        {"event": "error", "error": "out of memory"},
    ):
        assert events.is_valid(event)
        assert not events.is_valid({**event, "event": "other"})
    assert not events.is_valid({"event": "result"})
    assert not events.is_valid({"event": "result", **clip, "timings": {"audio": "0.1"}})


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_valid(name: str) -> None:
    assert validator("InferenceInput").is_valid(EXAMPLES[name]["value"])
    InferenceInput.parse(EXAMPLES[name]["value"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_generate_clips(name: str, gateway_url: str, client: httpx.Client) -> None:
    """With one step, and at the address and with the answers that the schema has."""
    ((path, operation), *_) = SCHEMA["paths"].items()
    example = {**EXAMPLES[name]["value"], "num_inference_steps": 1}
    answer = client.post(gateway_url + path, json=example)
    content = operation["post"]["responses"][str(answer.status_code)]["content"]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = content[media_type]["schema"]["$ref"].rpartition("/")[2]
    lines = answer.text.splitlines()
    assert answer.status_code == 200, answer.text[:500]
    for line in lines:
        validator(schema).validate(json.loads(line))
    if example.get("stream"):
        assert json.loads(lines[-1])["event"] == "result"


@pytest.mark.parametrize(
    "path", [path for path in SCHEMA["paths"] if "get" in SCHEMA["paths"][path]]
)
def test_get_answers_are_as_the_schema_says(path: str, gateway: httpx.Client) -> None:
    """The endpoint is unreachable here, so health and metrics are errors."""
    image_id = "mask_gradient_dark" if path.startswith("/masks") else "og_beat"
    for chosen in (image_id, "nope"):
        answer = gateway.get(path.format(image_id=chosen))
        responses = SCHEMA["paths"][path]["get"]["responses"]
        content = responses[str(answer.status_code)]["content"]
        media_type = answer.headers["content-type"].partition(";")[0]
        if media_type == "application/json":
            schema = {**SCHEMA, **content[media_type]["schema"]}
            Draft202012Validator(schema).validate(answer.json())
        else:
            assert media_type in content


def test_errors_are_as_the_schema_says(gateway: httpx.Client) -> None:
    ((path, operation), *_) = SCHEMA["paths"].items()
    evil = {"Origin": "https://evil.example"}
    for headers, status in ((evil, 403), ({}, 502)):
        answer = gateway.post(path, json={}, headers=headers)
        assert answer.status_code == status
        assert str(status) in operation["post"]["responses"]
        validator("Error").validate(answer.json())


def test_the_page_loads_nothing_from_other_servers(gateway: httpx.Client) -> None:
    answer = gateway.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert re.findall(r"(?:https?:)?//[\w-]+\.\w+", answer.text) == []
    policy = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"


def test_a_hosted_endpoint_without_images_has_no_such_paths() -> None:
    schema = openapi_schema(has_images=False, has_metrics=False)
    OpenAPIV31SpecValidator(schema).validate()
    assert list(schema["paths"]) == ["/run_inference/", "/v1/models/model:predict", "/health"]


@pytest.mark.parametrize("field", ["end", "loras", "prompts_at", "mute", "gain_db", "restyle"])
def test_a_field_may_be_null_for_its_default(field: str) -> None:
    request = {"start": {"prompt": "x", "seed": 1}, field: None}
    assert not list(validator("InferenceInput").iter_errors(request))
    assert InferenceInput.parse(request).end.prompt == "x"
    schema = SCHEMA["components"]["schemas"]["InferenceInput"]["properties"][field]
    assert schema["description"]
    assert "description" not in schema["anyOf"][0]


@pytest.mark.parametrize(
    "schema", [openapi_schema()["components"]["schemas"], InferenceRequest.model_json_schema()]
)
def test_bounds_have_the_names_of_json_schema(schema: dict[str, Any]) -> None:
    """pydantic writes `ge` and `lt`, which no client knows, if a validator comes before them."""
    keys: set[str] = set()

    def collect(part: Any) -> None:
        for child in part.values() if isinstance(part, dict) else part:
            if isinstance(child, dict | list):
                collect(child)
        keys.update(part if isinstance(part, dict) else ())

    collect(schema)
    assert not keys & {"ge", "gt", "le", "lt"}
    prompt = (schema.get("$defs") or schema)["PromptInput"]["properties"]
    assert (prompt["seed"]["minimum"], prompt["seed"]["exclusiveMaximum"]) == (0, 2**63)
    assert (prompt["denoising"]["minimum"], prompt["denoising"]["maximum"]) == (0, 1)
