"""What the cards of all data sets of images have in common."""

PARAMETERS = "`spectrogram_params.json` and each image's EXIF hold the parameters."
"""A sentence for the paragraph that describes the images."""


def front_matter(licence: str) -> str:
    """The lines at the top of `README.md` that the Hugging Face hub reads.

    Args:
        licence: identifier of the licence on the hub, such as `mit` or `other`.
    """
    return f"""---
license: {licence}
task_categories:
- text-to-image
- text-to-audio
tags:
- music
- spectrogram
---"""
