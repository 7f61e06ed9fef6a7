"""Ranges of musical values that requests and loops have in common; importing it costs nothing."""

TEMPO_RANGE_BPM = (30.0, 300.0)
MAX_BEATS = 256
"""Longest loop in beats."""
MAX_SEMITONES = 24.0
"""How far the pitch of a recording is moved at most, either way."""
