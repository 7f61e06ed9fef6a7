"""Waveform ⇄ mel amplitudes ⇄ image.

- `params`: the parameters that define a spectrogram, and their EXIF tags.
- `filterbank`: the mel filterbank of the analysis.
- `operations`, `torch_operations`: what NumPy and PyTorch name differently.
- `device_operations`: the operations on the device that is asked for.
- `analysis`: waveform → mel amplitudes, block by block.
- `stretching`: mel amplitudes with another number of frames.
- `converter`: audio ⇄ mel amplitudes.
- `image`: mel amplitudes ⇄ pixels.
- `image_converter`: audio ⇄ images with their parameters in the EXIF.
- `image_conversion`: images with other parameters.
- `compatibility`: checks that two sets of parameters make the same images.
- `inversion`: mel amplitudes → waveform.
"""
