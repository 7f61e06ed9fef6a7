"""Damage to a valid file: cut off, bytes changed, numbers that lie, rubbish behind it."""

import struct

from hypothesis import strategies as st

_LIES = (0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1)


@st.composite
def damaged(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    """A file of `files`, half of them unharmed."""
    file = draw(files)
    kind = draw(st.sampled_from(["none", "none", "none", "cut", "flip", "lie", "behind"]))
    if kind == "none" or not file:
        return file
    at = draw(st.integers(0, len(file) - 1))
    if kind == "cut":
        return file[:at]
    if kind == "behind":
        return file + draw(st.binary(min_size=1, max_size=64))
    if kind == "flip":
        return file[:at] + bytes([file[at] ^ draw(st.integers(1, 255))]) + file[at + 1 :]
    at %= min(len(file), 128)  # headers are at the start
    order = draw(st.sampled_from("<>"))
    lie = struct.pack(f"{order}I", draw(st.sampled_from(_LIES)))
    return file[:at] + lie + file[at + 4 :]
