"""Bytes ⇄ base64 text, bare or as a data URL: `data:<media type>;base64,<text>`."""

import base64
import binascii
import io

from riffusion.errors import MediaError


def data_url(data: bytes, media_type: str) -> str:
    """Bytes as a base64 data URL without line breaks."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def base64_from_buffer(buffer: io.BytesIO) -> str:
    """All bytes of a buffer as base64 text, without line breaks (upstream's has them)."""
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def bytes_from_data_url(text: str, field: str) -> bytes:
    """Bytes of base64 text or of a base64 data URL. White space inside the text is ignored.

    Args:
        text: `data:…;base64,…`, or the base64 alone.
        field: request field that holds it, for the error.

    Raises:
        MediaError: the text is not base64, or empty.
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
        raise MediaError("holds no bytes; send base64 or a base64 data URL", field)
    return data
