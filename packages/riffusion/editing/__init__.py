"""Edits of recordings of any length: audio in, audio out, without file names or a command line.

- `splicing`: the edited recording, with everything outside of the new parts kept bit for bit.
"""
