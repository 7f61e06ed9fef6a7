"""Bytes ⇄ base64 text, bare or as a data URL: `data:<media type>;base64,<text>`."""

import base64
import binascii
import io

from riffusion.errors import MediaError


def data_url(data: bytes, media_type: str) -> str:
    """Encode bytes as a base64 data URL without line breaks."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def base64_from_buffer(buffer: io.BytesIO) -> str:
    """Encode a buffer's bytes as base64 text without line breaks (upstream's text has them)."""
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def bytes_from_data_url(text: str, field: str) -> bytes:
    """Decode base64 text or a base64 data URL. White space in the text is ignored.

    Args:
        text: `data:…;base64,…`, or only the base64 text.
        field: name of the request field, for the error message.

    Raises:
        MediaError: the text isn't base64, or it is empty.
    """
    payload = text
    if text[:5].lower() == "data:":
        header, comma, payload = text.partition(",")
        if not comma or not header.lower().rstrip().endswith(";base64"):
            raise MediaError("a data URL must look like data:<media type>;base64,<text>", field)
    try:
        data = base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(
            f"is not base64 ({error}); send base64 or a base64 data URL", field
        ) from error
    if not data:
        raise MediaError("is empty; send base64 or a base64 data URL", field)
    return data
