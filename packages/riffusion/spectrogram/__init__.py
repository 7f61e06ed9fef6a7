"""Waveform ⇄ mel amplitudes ⇄ image.

- `params`: the parameters that define a spectrogram, and their EXIF tags.
- `filterbank`: the mel filterbank of the analysis.
- `operations`, `torch_operations`: what the analysis needs of NumPy and of PyTorch.
- `analysis`: waveform → mel amplitudes, block by block.
- `stretching`: mel amplitudes with another number of frames.
- `converter`: audio ⇄ mel amplitudes.
- `image`: mel amplitudes ⇄ pixels.
- `image_converter`: audio ⇄ images with their parameters in the EXIF.
- `image_conversion`: images with other parameters.
- `compatibility`: checks that two sets of parameters make the same images.
- `inversion`: mel amplitudes → waveform.
"""
