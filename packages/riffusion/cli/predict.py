"""`riffusion predict`: send a request file to a local or hosted endpoint."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from riffusion.cli import options
from riffusion.cli.outputs import (
    check_audio_output,
    check_image_output,
    save_image,
    write_segment,
)
from riffusion.cli.progress import progress_bar
from riffusion.errors import EndpointError, InputError
from riffusion.io.files import write_file

if TYPE_CHECKING:
    from riffusion.serving.client import Endpoint

Media = TypeVar("Media")


def predict(
    *,
    request: Annotated[
        str, typer.Option("--file", "-f", help="File with the request as JSON; - reads stdin.")
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="RIFFUSION_ENDPOINT",
            help="Address of the endpoint; default: the server that `riffusion serve` starts on "
            "this machine. The API key is read from the environment variable RIFFUSION_API_KEY "
            "or BASETEN_API_KEY.",
            show_default=False,
        ),
    ] = None,
    output: options.AudioOutput = Path("out.mp3"),
    image: options.ImageOutput = None,
) -> None:
    """Send a request file to an endpoint.

    The audio of the response is written to a file, stems to files beside it (out-drums.mp3), and
    with --image the image, too. The formats follow from the file extensions; formats in the request
    are ignored.
    """
    payload = _read_request(request)
    check_audio_output(output)
    if image is not None:
        check_image_output(image)
    from riffusion.serving.client import DEFAULT_URL, Endpoint

    result = _fetch_result(Endpoint(endpoint or DEFAULT_URL), _with_formats(payload, output, image))
    _write_audio(_field(result, "audio"), output)
    duration_s = result.get("duration_s")
    length = f" ({duration_s:.2f} seconds)" if isinstance(duration_s, (int, float)) else ""
    print(f"Wrote {output}{length}")
    for path, url in _stems(result, output).items():
        _write_audio(url, path)
        print(f"Wrote {path}{length}")
    if image is not None:
        _write_image(_field(result, "image"), image)
        print(f"Wrote {image}")


def _read_request(name: str) -> dict[str, Any]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{name!r} cannot be read ({error.strerror})", field="request") from error
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name!r} is not JSON ({error}); write a request such as "
            '{"start": {"prompt": "church bells", "seed": 42}}',
            field="request",
        ) from error
    if not isinstance(payload, dict):
        raise InputError(f"{name!r} must hold a JSON object", field="request")
    return payload


def _with_formats(payload: dict[str, Any], output: Path, image: Path | None) -> dict[str, Any]:
    """The request with the files' formats; flac where the API lacks the audio format."""
    from riffusion.audio import format_from_path
    from riffusion.datatypes import AudioFormat
    from riffusion.io.images import image_format_from_path

    formats: dict[str, Any] = {}
    audio_format = format_from_path(output)
    formats["audio_format"] = audio_format if audio_format in get_args(AudioFormat) else "flac"
    if image is not None:
        formats["image_format"] = image_format_from_path(image)
    return {**payload, **formats}


def _fetch_result(endpoint: "Endpoint", payload: dict[str, Any]) -> dict[str, Any]:
    """Send the request and return the result, with a progress bar if the endpoint streams."""
    with progress_bar("clip") as move:
        for event in endpoint.stream(payload):
            if event.get("event") == "progress":
                step, steps = event.get("step"), event.get("steps")
                if isinstance(step, int) and isinstance(steps, int):
                    move(step, steps)
            else:
                return event
    raise EndpointError(f"{endpoint} sent no result")


def _field(result: dict[str, Any], name: str) -> str:
    value = result.get(name)
    if not isinstance(value, str):
        raise EndpointError(f"the endpoint's response has no {name}; is it a Riffusion endpoint?")
    return value


def _stems(result: dict[str, Any], output: Path) -> dict[Path, str]:
    """The stems of an answer to mode=stems by their files, which are beside `output`.

    Names that aren't those of stems are left out: an endpoint can't choose where files are written.
    """
    from riffusion.edit_fields import StemName

    stems = result.get("stems")
    if not isinstance(stems, dict):
        return {}
    return {
        output.with_name(f"{output.stem}-{name}{output.suffix}"): _field(stems, name)
        for name in get_args(StemName)
        if name in stems
    }


def _write_audio(url: str, path: Path) -> None:
    from riffusion.audio import MEDIA_TYPES, decode_audio, format_from_path

    media_type = MEDIA_TYPES[format_from_path(path)]
    _write(url, path, "audio", media_type, decode_audio, write_segment)


def _write_image(url: str, path: Path) -> None:
    from riffusion.io.images import MEDIA_TYPES, decode_image, image_format_from_path

    media_type = MEDIA_TYPES[image_format_from_path(path)]
    _write(url, path, "image", media_type, decode_image, save_image)


def _write(
    url: str,
    path: Path,
    name: str,
    media_type: str,
    decode: Callable[[bytes], Media],
    write: Callable[[Media, Path], None],
) -> None:
    """Write the media of a data URL: unchanged if it is in the file's format, else converted."""
    from riffusion.io.data_urls import bytes_from_data_url

    try:
        data = bytes_from_data_url(url, name)
        media = decode(data)
    except InputError as error:
        raise EndpointError(f"the endpoint's {name} cannot be used: {error}") from error
    if url.startswith(f"data:{media_type};"):
        write_file(data, path)
    else:
        write(media, path)
