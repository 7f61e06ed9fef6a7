"""Edits of recordings of any length: audio in, audio out, without file names or a command line.

- `splicing`: the edited recording, with everything outside of the new parts kept bit for bit.
- `stems`: taking a recording apart into stems that add up to it bit for bit, and remixing them.
- `separation`: drums, bass and harmonic sounds by their shapes in the spectrogram.
"""
