"""Loops composed and synthesised by code, and seed images of these loops or of recordings.

- `arrangements`: the five loops as data: tracks, patterns, chords.
- `drums`: drums and cymbals.
- `instruments`: pitched instruments.
- `oscillators`: the signals that instruments are built from.
- `harmony`: keys and scale degrees.
- `grid`: beats, tempo and frames of a loop.
- `rendering`: arrangement → seamless waveform.
- `seed_images`: seed images of the loops, and the files in `data`.
- `masks`: mask images.
- `tempo`: onsets and tempo of a recording.
- `from_recording`: recording → seamless seed image.
"""
