"""Waveform ⇄ mel amplitudes ⇄ image.

- `params`: the parameters that define a spectrogram, and their EXIF tags.
- `filterbank`: the mel filterbank, and its approximation on the bins of a shorter FFT.
- `analysis`: waveform → mel amplitudes, block by block.
- `converter`: audio ⇄ mel amplitudes.
- `image`: mel amplitudes ⇄ pixels.
- `image_converter`: audio ⇄ images with their parameters in the EXIF.
- `image_conversion`: images with other parameters.
- `compatibility`: checks that two sets of parameters make the same images.
- `inversion`: mel amplitudes → waveform.
"""
