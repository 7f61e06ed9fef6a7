"""The API's description: an OpenAPI 3.1 schema at /openapi.json, and a page to try it at /docs.

The schemas of request and response are made from the models that parse and build them, so their
bounds are the ones that are checked. The routes read raw bodies, so FastAPI can't derive the rest:
it is written out here. The page is self-contained: nothing is loaded from another server.
"""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic.json_schema import models_json_schema

import riffusion
from riffusion.datatypes import (
    PRESETS,
    EditOutput,
    InferenceInput,
    InferenceOutput,
    PromisedOutput,
)
from riffusion.serving.addresses import PREDICT_PATH, RUN_INFERENCE_PATH
from riffusion.serving.client import JSON, MSGPACK
from riffusion.serving.gateway.reverse_proxy import NDJSON

Schema = dict[str, Any]
_NULL: Schema = {"type": "null"}

EXAMPLES: dict[str, Schema] = {
    "interpolation": {
        "summary": "Between two prompts",
        "value": {
            "start": {"prompt": "church bells", "seed": 42},
            "end": {"prompt": "jazz trio", "seed": 43},
            "alpha": 0.25,
            "num_inference_steps": 20,
            "seed_image_id": "og_beat",
        },
    },
    "stream": {
        "summary": "One prompt, with progress events",
        "value": {
            "start": {"prompt": "church bells", "seed": 42},
            "preset": "fast",
            "stream": True,
        },
    },
    "txt2img": {
        "summary": "From noise, without a seed image",
        "value": {
            "start": {"prompt": "techno beat", "seed": 7},
            "mode": "txt2img",
            "duration_s": 2.56,
            "num_inference_steps": 20,
            "audio_format": "wav",
        },
    },
}
_DESCRIPTION = """Text and spectrogram images in, music out. Rules that JSON Schema can't express:
`init_image` and `init_audio` exclude each other, so do `mask_image` and `mask_image_id`;
`duration_s` needs mode=txt2img; a mask needs mode=img2img; txt2img takes no init image or audio;
modes repaint, restyle, extend, between, vary, loop, retime, stems, remix and follow edit the
recording in `init_audio` and are answered with an EditOutput; `region` is for repaint, `prompts_at`
for restyle, `after_s` and `before_s` for extend, `init_audio_b` and `num_clips` for between,
`amount` for vary, `beats` and `from_s` for loop, `key` and `semitones` for retime, `tempo_bpm` for
extend, loop and retime, `from_tempo_bpm` for loop and retime, `gain_db`, `mute` and `restyle` for
remix, which needs one of them, `init_midi` for follow, in place of `init_audio`; between, loop,
retime, stems and remix need no `start`; loop, retime, stems and a remix without `restyle` take no
`loras`; between and vary make 5 or more steps (default 20) of `scheduler` ddim;
`tempo_bpm`, `key` and `beats` are promises of mode=img2img, answered with a PromisedOutput;
mode=unconditional is for servers whose checkpoint takes no text, which refuse all other modes: its
`start` needs no `prompt`, its `scheduler` is ddim or ddpm, which other modes don't take, and with
`init_audio` it makes a variation;
numbers of type integer are written without a decimal point. Unknown fields are ignored. The final
slash of `/run_inference/` and `/metrics/` is optional."""
_PAGE = Path(__file__).with_name("api_page.html")
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
)


def add_api_docs(app: FastAPI, has_images: bool, has_metrics: bool) -> None:
    """Add the routes /openapi.json and /docs.

    Args:
        app: the gateway's application.
        has_images: whether it offers seed images and masks.
        has_metrics: whether it offers metrics, and what it knows from them about the checkpoint.
    """
    schema = openapi_schema(has_images, has_metrics)
    page = _PAGE.read_text(encoding="utf-8")

    def send_schema(_: Request) -> Response:
        return JSONResponse(schema)

    def send_page(_: Request) -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})

    app.add_route("/openapi.json", send_schema, methods=["GET"])
    app.add_route("/docs", send_page, methods=["GET"])


def openapi_schema(has_images: bool = True, has_metrics: bool = True) -> Schema:
    """The OpenAPI 3.1 schema of the gateway; the arguments are those of `add_api_docs`."""
    paths: dict[str, Schema] = {
        RUN_INFERENCE_PATH + "/": {"post": _predict("run_inference")},
        PREDICT_PATH: {"post": _predict("predict")},
        "/health": {"get": _health()},
    }
    if has_images:
        for name, title in (("seed_images", "seed images"), ("masks", "masks")):
            paths[f"/{name}"] = {"get": _list_ids(name, title)}
            paths[f"/{name}/{{image_id}}.png"] = {"get": _image(name, title)}
    if has_metrics:
        paths["/info"] = {"get": _info()}
        paths["/metrics/"] = {"get": _metrics()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Riffusion gateway",
            "version": riffusion.__version__,
            "description": _DESCRIPTION,
        },
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _schemas() -> Schema:
    """The named schemas of bodies and stream events."""
    _, models = models_json_schema(
        [
            (InferenceInput, "validation"),
            (InferenceOutput, "serialization"),
            (EditOutput, "serialization"),
            (PromisedOutput, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    text = {"type": "string"}
    count = {"type": "integer", "minimum": 0}
    names = {kind: f"{kind.title()}Event" for kind in ("progress", "result", "error")}
    result = _object({"event": {"const": "result"}}, "The last event: the clip.")
    result["properties"]["timings"] = {
        "description": "Seconds per stage. Endpoints of other versions may leave it out.",
        "type": "object",
        "additionalProperties": {"type": "number", "minimum": 0},
    }
    return {
        **models["$defs"],
        "Error": _object({"error": text}, "What is wrong, which rule it breaks, and the remedy."),
        names["progress"]: _object(
            {"event": {"const": "progress"}, "step": count, "steps": count},
            "Denoising steps done, and their total. Repeated every 5 s while nothing else happens.",
        ),
        names["result"]: {"allOf": [_ref("InferenceOutput"), result]},
        names["error"]: _object(
            {"event": {"const": "error"}, "error": text}, "The last event, if the clip failed."
        ),
        "StreamEvent": {
            "oneOf": [_ref(name) for name in names.values()],
            "discriminator": {
                "propertyName": "event",
                "mapping": {kind: _ref(name)["$ref"] for kind, name in names.items()},
            },
        },
    }


def _predict(operation_id: str) -> Schema:
    body = _ref("InferenceInput")
    clip = _ref("InferenceOutput")
    return {
        "operationId": operation_id,
        "summary": "Generate one clip",
        "requestBody": {
            "required": True,
            "description": "At most 36 MiB. Any content type but msgpack's is read as JSON.",
            "content": {JSON: {"schema": body, "examples": EXAMPLES}, MSGPACK: {"schema": body}},
        },
        "responses": {
            "200": {
                "description": "The clip; with `stream`, one event per line. msgpack is answered "
                "in msgpack. Modes that edit a recording are answered with an EditOutput, and "
                "promises with a PromisedOutput, which have further fields.",
                "content": {
                    JSON: {"schema": clip},
                    NDJSON: {"schema": _ref("StreamEvent")},
                    MSGPACK: {"schema": clip},
                },
            },
            "400": _failure("The request is invalid or too large; no work was done."),
            "403": _failure("The page that makes the request is not allowed to."),
            "408": _failure("The request did not arrive within 60 s."),
            "429": _too_many(),
            "500": _failure("The clip failed; the server's log has the reason."),
            "502": _failure("The endpoint is unreachable, or sent neither a clip nor an error."),
            "503": _busy("Too much work is waiting, or the model is still loading."),
            "504": _failure("The clip was not done within `deadline_s`, or the endpoint hangs."),
            "default": _failure("Another error of the endpoint, such as a wrong API key."),
        },
    }


def _health() -> Schema:
    text = {"type": "string"}
    ready = {"status": {"const": "ok"}, "endpoint": text}
    unavailable = {"status": {"const": "unavailable"}, "endpoint": text, "error": text}
    busy = _busy("The endpoint is unreachable, or its model is still loading.")
    busy["content"][JSON] = {"schema": _object(unavailable)}
    return _get(
        "health",
        "Whether the endpoint is ready",
        _response("It is ready, or can't be asked.", JSON, _object(ready)),
        {"503": busy},
    )


def _info() -> Schema:
    number = {"type": "number", "minimum": 1}
    values = {
        "max_steps": {"type": "integer", "minimum": 1},
        "guidance": {"type": "array", "items": number, "minItems": 2, "maxItems": 2},
        "guided_sampling": {"type": "boolean"},
    }
    distillation = _object(values, "What a distilled checkpoint can do with scheduler lcm.")
    presets = {"type": "array", "items": {"enum": list(PRESETS)}}
    content = _object({"presets": presets, "distillation": {"anyOf": [distillation, _NULL]}})
    content["properties"] |= {  # left out where there is nothing to say
        "loras": {"type": "array", "items": {"type": "string"}},
        "unconditional": {"const": True},
    }
    return _get(
        "info",
        "What the checkpoint can do",
        _response(
            "The presets, null if it is not distilled or unknown, the ids of LoRAs, and whether it "
            "takes no text, so that mode=unconditional is the only one.",
            JSON,
            content,
        ),
        {
            "502": _failure("The endpoint is unreachable."),
            "504": _failure("The endpoint did not answer in time."),
        },
    )


def _list_ids(name: str, title: str) -> Schema:
    ids = {"type": "array", "items": {"type": "string"}}
    response = _response(f"The ids of the {title}.", JSON, _object({name: ids}))
    return _get(f"list_{name}", f"Ids of the {title}", response)


def _image(name: str, title: str) -> Schema:
    operation = _get(
        f"get_{name}",
        f"One of the {title}",
        _response("The image.", "image/png", {}),
        {"404": _failure("There is no such image.")},
    )
    image_id = {"name": "image_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {**operation, "parameters": [image_id]}


def _metrics() -> Schema:
    return _get(
        "metrics",
        "Prometheus metrics of the Truss server",
        _response("Metrics in Prometheus' text format.", "text/plain", {"type": "string"}),
        {
            "502": _failure("The endpoint is unreachable."),
            "504": _failure("The endpoint did not answer in time."),
        },
    )


def _get(
    operation_id: str, summary: str, success: Schema, failures: Schema | None = None
) -> Schema:
    busy = _busy("The gateway has too many connections.")
    responses = {"200": success, "429": _too_many(), "503": busy, **(failures or {})}
    return {"operationId": operation_id, "summary": summary, "responses": responses}


def _too_many() -> Schema:
    return _with_retry_after(_failure("This client has made too many requests."))


def _busy(description: str) -> Schema:
    """503: as JSON with Retry-After; beyond the limit of connections as plain text."""
    response = _with_retry_after(_failure(description))
    response["content"]["text/plain"] = {"schema": {"type": "string"}}
    return response


def _with_retry_after(response: Schema) -> Schema:
    header = {
        "description": "Seconds to wait, in JSON responses.",
        "schema": {"type": "integer", "minimum": 1},
    }
    return {**response, "headers": {"Retry-After": header}}


def _failure(description: str) -> Schema:
    return _response(description, JSON, _ref("Error"))


def _response(description: str, media_type: str, schema: Schema) -> Schema:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _object(properties: Schema, description: str | None = None) -> Schema:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {**schema, "description": description} if description else schema


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
