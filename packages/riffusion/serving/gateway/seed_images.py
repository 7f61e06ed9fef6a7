"""Seed images and masks for people to choose from.

GET /seed_images            {"seed_images": [ids]}
GET /seed_images/ID.png     the image, parameters in its EXIF
GET /masks                  {"masks": [ids]}
GET /masks/ID.png           the image: white is repainted, black is kept
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
"""Images of a kind whose bytes are kept, since encoding one takes far longer than sending it."""
_CACHE = {"Cache-Control": "public, max-age=3600"}


def add_seed_images(app: FastAPI, library: SeedLibrary) -> None:
    """Serve the images of a library."""
    _add(app, "seed_images", library.seed_image_ids, library.seed_image)
    _add(app, "masks", library.mask_image_ids, library.mask_image)


def _add(app: FastAPI, name: str, ids: Sequence[str], image: Callable[[str], Image.Image]) -> None:
    def answer_ids(_: Request) -> Response:
        return JSONResponse({name: list(ids)}, headers=_CACHE)

    @functools.lru_cache(_MAX_ENCODED)
    def encoded(image_id: str) -> bytes:
        return encode_image(image(image_id), "png")

    def answer_image(request: Request) -> Response:
        try:
            content = encoded(request.path_params["image_id"])
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(content, media_type=MEDIA_TYPES["png"], headers=_CACHE)

    app.add_route(f"/{name}", answer_ids, methods=["GET"])
    app.add_route(f"/{name}/{{image_id}}.png", answer_image, methods=["GET"])
