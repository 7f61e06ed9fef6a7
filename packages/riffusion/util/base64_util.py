"""Upstream's name for base64 of a buffer."""

from riffusion.io.data_urls import base64_from_buffer as encode

__all__ = ["encode"]
