"""Upstream's name for `riffusion.io.data_urls.base64_from_buffer`."""

from riffusion.io.data_urls import base64_from_buffer as encode

__all__ = ["encode"]
