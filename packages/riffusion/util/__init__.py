"""Aliases: the module names under which upstream's scripts import helper functions.

- `audio_util`: aliases of `riffusion.audio.upstream`.
- `base64_util`: alias of `riffusion.io.data_urls.base64_from_buffer`.
- `fft_util`: aliases of `riffusion.audio.spectrum`.
- `image_util`: aliases of `riffusion.spectrogram.image`, and `exif_from_image`.
- `torch_util`: aliases of `check_device` and `slerp`.
"""
