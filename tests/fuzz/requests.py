"""Request bodies that no client should send, and whole HTTP requests around them.

A request's fields are good but for some that are replaced by junk, or its text is broken: cut off,
nested, with huge numbers, keys twice, in other encodings. Images and audio are `images`' and
`sounds`'. What turns out to be valid is made cheap: few steps, and mostly a short deadline.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import msgpack
from hypothesis import strategies as st

from riffusion.datatypes import InferenceInput
from riffusion.edit_fields import EDIT_MODES
from riffusion.errors import InputError
from riffusion.serving.addresses import PREDICT_PATH, RUN_INFERENCE_PATH
from riffusion.serving.client import JSON, MSGPACK
from tests.fuzz.images import image_files
from tests.fuzz.sounds import audio_files

MAX_STEPS = 2
MAX_DEADLINE_S = 0.3
"""Limits of valid requests, but for one in `ONE_IN_DRAWS`."""
ONE_IN_DRAWS = 40
GOOD: dict[str, Any] = {
    "start": {"prompt": "church bells", "seed": 42},
    "num_inference_steps": 1,
}


@dataclass(frozen=True)
class FuzzRequest:
    """One HTTP request.

    Attributes:
        direct: whether it goes to the Truss server itself instead of the gateway.
    """

    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    path: str = f"{RUN_INFERENCE_PATH}/"
    direct: bool = False

    def __str__(self) -> str:
        body = self.content if len(self.content) < 300 else self.content[:300] + b" ..."
        return f"{self.method} {self.path} direct={self.direct} {self.headers} {body!r}"


texts = st.one_of(
    st.text(st.characters(codec=None), max_size=30),
    st.sampled_from(
        ["", "\0", "\ud800", "𝕳" * 600, "(" * 2000, "[a:" * 300, "((x:1e999))", "é\u0301"]
    ),
)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([-1, 0, 2**31, 2**63 - 1, 2**63, 10**400, -0.0, 5e-324, 1e308, 0.1, 1.0]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
_properties = InferenceInput.model_json_schema()["properties"]


@st.composite
def media_texts(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> str:
    """A file as base64, as a data URL of some media type, or not quite."""
    file = draw(files)
    text = base64.b64encode(file).decode()
    kind = draw(st.sampled_from(["bare"] * 6 + ["url"] * 3 + ["urlsafe", "lines", "no padding"]))
    if kind == "url":
        media_type = draw(st.sampled_from(["image/png", "audio/wav", "text/html", "", "x" * 999]))
        return f"data:{media_type};base64,{text}"
    if kind == "urlsafe":
        return base64.urlsafe_b64encode(file).decode()
    if kind == "lines":
        return base64.encodebytes(file).decode()
    return text.rstrip("=") if kind == "no padding" else text


images = media_texts(image_files())
sounds = media_texts(audio_files())
_starts = st.fixed_dictionaries(
    {
        "prompt": st.one_of(st.just("church bells"), texts),
        "seed": st.one_of(st.integers(0, 2**63 - 1), st.just(1)),
    },
    optional={
        "denoising": st.floats(0, 1),
        "guidance": st.floats(0, 30),
        "negative_prompt": texts,
    },
)
_ids = st.sampled_from(["og_beat", "motorway", "../../etc/passwd", "mask_gradient_dark", "\0", "."])
_tempos = st.one_of(st.sampled_from([40, 90, 120.5, 200]), numbers)
_seconds = st.one_of(st.sampled_from([0, 0.5, 1.0, 59, 1e9]), numbers)
_stems = st.sampled_from(["drums", "bass", "harmonic", "residual", "x"])
_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "end": _starts,
    "alpha": st.floats(0, 1),
    "num_inference_steps": st.integers(1, 150),
    "seed_image_id": _ids,
    "mask_image_id": _ids,
    "mode": st.sampled_from(["img2img", "txt2img", "image_to_audio", *EDIT_MODES]),
    "duration_s": st.floats(0.01, 60),
    "scheduler": st.sampled_from(["pndm", "ddim", "unipc", "euler_a", "lcm", "lms", "ddpm"]),
    "preset": st.sampled_from(["instant", "fast", "balanced"]),
    "guidance_interval": st.lists(st.floats(0, 1), min_size=2, max_size=2),
    "loras": st.lists(st.fixed_dictionaries({"id": texts}), max_size=9),
    "region": st.dictionaries(
        st.sampled_from(["from_s", "to_s", "low_hz", "high_hz"]), numbers, max_size=4
    ),
    "prompts_at": st.lists(st.fixed_dictionaries({"at_s": numbers, "prompt": texts}), max_size=3),
    "num_clips": st.integers(2, 100),
    "amount": st.floats(0, 1),
    "after_s": _seconds,
    "before_s": _seconds,
    "from_s": _seconds,
    "beats": st.integers(1, 64),
    "tempo_bpm": _tempos,
    "from_tempo_bpm": _tempos,
    "key": st.sampled_from(["A minor", "C major", "H moll", ""]),
    "semitones": st.floats(-12, 12),
    "gain_db": st.dictionaries(_stems, numbers, max_size=3),
    "mute": st.lists(_stems, max_size=3),
    "restyle": st.dictionaries(_stems, texts, max_size=2),
    "audio_format": st.sampled_from(["mp3", "wav", "flac", "ogg"]),
    "image_format": st.sampled_from(["jpeg", "png", "webp"]),
    "stream": st.booleans(),
}
assert set(_OPTIONS) <= set(_properties)


@st.composite
def field_values(draw: st.DrawFn) -> Any:
    """Fields of a request, of which some don't go together, or are junk."""
    values: Any = {"start": draw(_starts)}
    for name in draw(st.lists(st.sampled_from(sorted(_OPTIONS)), max_size=5, unique=True)):
        values[name] = draw(_OPTIONS[name])
    for name in draw(st.lists(st.sampled_from(sorted(_properties)), max_size=2)):
        values[name] = draw(junk)
    if draw(st.integers(0, 4)) == 0:
        values[draw(texts)] = draw(junk)
    if draw(st.integers(0, 9)) == 0:
        values["start"] = (
            {**values["start"], draw(st.sampled_from(["seed", "prompt"])): draw(junk)}
            if isinstance(values["start"], dict)
            else draw(junk)
        )
    return cheap(values, draw(st.integers(0, ONE_IN_DRAWS)) == 0)


@st.composite
def media_values(draw: st.DrawFn) -> Any:
    """A request with images or audio, in a mode that reads them."""
    values: Any = {"start": {"prompt": "bells", "seed": 1}}
    kind = draw(st.sampled_from(["image", "image", "mask", "sound", "edit", "edit", "b", "midi"]))
    if kind in ("image", "mask"):
        values["init_image" if kind == "image" else "mask_image"] = draw(images)
        if kind == "image" and draw(st.booleans()):
            values["mode"] = "image_to_audio"
    elif kind == "midi":
        values |= {"mode": "follow", "init_midi": draw(sounds)}
    else:
        values["init_audio"] = draw(sounds)
        if kind != "sound":
            values["mode"] = mode = draw(st.sampled_from(EDIT_MODES))
            values |= {
                "repaint": {"region": {"from_s": 0.0, "to_s": 0.01}},
                "extend": {"after_s": 1.0},
                "retime": {"tempo_bpm": 120.0},
                "remix": {"mute": ["drums"]},
                "between": {"init_audio_b": draw(sounds) if mode == "between" else ""},
            }.get(mode, {})
    for name in draw(
        st.lists(st.sampled_from(["audio_format", "image_format", "stream"]), max_size=2)
    ):
        values[name] = draw(_OPTIONS[name])
    return cheap(values, draw(st.integers(0, ONE_IN_DRAWS)) == 0)


def cheap(values: Any, draws: bool) -> Any:
    """The same fields with few steps and a deadline, if the server would work on them."""
    try:
        inputs = InferenceInput.parse(values)
    except (InputError, RecursionError):
        return values
    steps = min(inputs.num_inference_steps, MAX_STEPS)
    less = {} if inputs.mode in ("between", "vary") else {"num_inference_steps": steps}
    return {**values, **less, "deadline_s": 20.0 if draws else MAX_DEADLINE_S}


_NUMBERS = (
    *("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 5000, "1." + "0" * 9999),
    *("0x10", "01", "+1", "1e", ".5", "1_0", "-", "1E-400", "0e999999999", "٣"),
)


@st.composite
def broken_texts(draw: st.DrawFn) -> bytes:
    """What isn't JSON, or JSON that asks for trouble."""
    good = json.dumps({**GOOD, "deadline_s": 0.01})
    kind = draw(
        st.sampled_from(["cut", "deep", "number", "twice", "encoding", "bytes", "insert", "long"])
    )
    if kind == "cut":
        return good[: draw(st.integers(0, len(good) - 1))].encode()
    if kind == "deep":
        opening = draw(st.sampled_from(["[", '{"start":', '[{"a":', '{"":[']))
        count = draw(st.sampled_from([10, 500, 995, 1005, 20_000, 200_000]))
        closing = "".join("]" if c == "[" else "}" for c in reversed(opening) if c in "[{")
        return (opening * count + "1" + draw(st.sampled_from(["", closing * count]))).encode()
    if kind == "number":
        number = draw(st.sampled_from(_NUMBERS))
        name = draw(st.sampled_from(["alpha", "num_inference_steps", "deadline_s", "duration_s"]))
        return f'{{"start": {{"prompt": "x", "seed": {number}}}, "{name}": {number}}}'.encode()
    if kind == "twice":
        name = draw(st.sampled_from(["start", "seed", "x", "\\u0073tart"]))
        return (good[:-1] + f', "{name}": 1, "{name}": 2}}').encode()
    if kind == "encoding":
        text = json.dumps(
            {"start": {"prompt": draw(texts), "seed": 1}, "alpha": 2}, ensure_ascii=False
        )
        name = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp037"]))
        errors = "surrogatepass" if name.startswith("utf") else "replace"
        return text.encode(name, errors)
    if kind == "insert":
        at = draw(st.integers(0, len(good)))
        return good[:at].encode() + draw(st.binary(min_size=1, max_size=4)) + good[at:].encode()
    if kind == "long":
        return b" " * draw(st.sampled_from([1, 10**6])) + draw(st.sampled_from([b"", b"{}", b"]"]))
    return draw(st.binary(max_size=200))


def json_of(values: Any) -> bytes:
    """JSON text; lone surrogates are escaped, NaN and Infinity are written as Python does."""
    return json.dumps(values).encode()


@st.composite
def msgpack_bodies(draw: st.DrawFn) -> bytes:
    """Fields in msgpack, some cut off or changed, and tags of dates and arrays, also in fields."""
    tagged = st.fixed_dictionaries(
        {},
        optional={
            "nd": junk,
            b"nd": st.booleans(),
            b"type": st.sampled_from([b"O", "|O", b"<f8", "V99999999", [["a", "O"]], 1]),
            b"shape": st.sampled_from([[1], [2**40], [-1], "x"]),
            b"kind": st.sampled_from([b"", b"O", b"V"]),
            b"data": st.binary(max_size=16),
            b"__dt_datetime_iso__": junk,
            b"__decimal__": junk,
            b"__uuid__": junk,
        },
    )
    values = draw(st.one_of(field_values(), field_values(), tagged, junk))
    if isinstance(values, dict) and draw(st.booleans()):
        field = draw(
            st.sampled_from(["mode", "alpha", "seed_image_id", "loras", *map(str, values)])
        )
        values = {**values, field: draw(tagged)}
    try:
        packed: bytes = msgpack.packb(values, unicode_errors="surrogatepass")
    except (OverflowError, ValueError):
        return draw(st.binary(max_size=64))
    if draw(st.booleans()):
        return packed
    at = draw(st.integers(0, len(packed)))
    return packed[:at] + draw(st.binary(max_size=3))


_json_bodies = st.one_of(
    field_values().map(json_of),
    field_values().map(json_of),
    broken_texts(),
    broken_texts(),
    media_values().map(json_of),
)
_TARGETS = (
    (f"{RUN_INFERENCE_PATH}/", False),
    (RUN_INFERENCE_PATH, False),
    (PREDICT_PATH, False),
    (PREDICT_PATH, True),
)
_CONTENT_TYPES = (JSON, JSON, "application/json; charset=utf-16", "text/plain", "", "x" * 2000)


@st.composite
def clip_requests(draw: st.DrawFn) -> FuzzRequest:
    """A request for a clip, to one of the addresses that take them."""
    path, direct = draw(st.sampled_from(_TARGETS))
    if draw(st.integers(0, 7)) == 0:
        return FuzzRequest(draw(msgpack_bodies()), {"Content-Type": MSGPACK}, "POST", path, direct)
    content_type = JSON if direct else draw(st.sampled_from(_CONTENT_TYPES))
    return FuzzRequest(draw(_json_bodies), {"Content-Type": content_type}, "POST", path, direct)


@st.composite
def other_requests(draw: st.DrawFn) -> FuzzRequest:
    """Any method at any path of the gateway."""
    paths = ["/", "/health", "/info", "/metrics", "/docs", "/openapi.json", "/seed_images"]
    paths += [
        "/masks",
        "/seed_images/og_beat.png",
        "/seed_images/%00.png",
        "/masks/..%2f..%2fx.png",
    ]
    paths += [PREDICT_PATH, "/run_inference//", "/%ff%fe", "/" + "a" * 5000, "/?" + "q=1&" * 2000]
    method = draw(
        st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH", "X"])
    )
    headers = draw(
        st.dictionaries(
            st.sampled_from(["Origin", "Accept", "Range", "Expect", "Accept-Encoding", "X-A"]),
            st.sampled_from(
                ["*", "null", "http://evil.example", "bytes=0-1,9-", "100-continue", ""]
            ),
            max_size=2,
        )
    )
    return FuzzRequest(b"", headers, method, draw(st.sampled_from(paths)))


def hostile_requests() -> st.SearchStrategy[FuzzRequest]:
    """All of the above; most are for clips."""
    return st.integers(0, 9).flatmap(lambda n: clip_requests() if n else other_requests())
