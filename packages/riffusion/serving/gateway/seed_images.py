"""Seed images and masks for people to choose from.

GET /seed_images            {"seed_images": [ids]}
GET /seed_images/ID.png     the image, with its spectrogram parameters in the EXIF
GET /masks                  {"masks": [ids]}
GET /masks/ID.png           the mask: white is repainted, black is kept
"""

import functools
from collections.abc import Callable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image

from riffusion.errors import InputError
from riffusion.generation.seed_library import SeedLibrary
from riffusion.io.images import MEDIA_TYPES, encode_image

_MAX_ENCODED = 64
"""Encoded images to keep per kind; encoding one takes far longer than sending it."""
_CACHE_HEADERS = {"Cache-Control": "public, max-age=3600"}


def add_seed_images(app: FastAPI, library: SeedLibrary) -> None:
    """Add routes for the images of a library."""
    _add_routes(app, "seed_images", library.seed_image_ids, library.seed_image)
    _add_routes(app, "masks", library.mask_image_ids, library.mask_image)


def _add_routes(
    app: FastAPI, name: str, ids: Sequence[str], image: Callable[[str], Image.Image]
) -> None:
    def list_ids(_: Request) -> Response:
        return JSONResponse({name: list(ids)}, headers=_CACHE_HEADERS)

    @functools.lru_cache(_MAX_ENCODED)
    def encoded(image_id: str) -> bytes:
        return encode_image(image(image_id), "png")

    def send_image(request: Request) -> Response:
        try:
            content = encoded(request.path_params["image_id"])
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(content, media_type=MEDIA_TYPES["png"], headers=_CACHE_HEADERS)

    app.add_route(f"/{name}", list_ids, methods=["GET"])
    app.add_route(f"/{name}/{{image_id}}.png", send_image, methods=["GET"])
