"""Edits of recordings of any length: each takes and returns audio, and knows no file names.

- `times`: points in time as people write them.
- `listening`: one pass over a recording, for its beats and its key.
- `attacks`: when notes start, to a few milliseconds.
- `tempo_path`: the tempo over time.
- `metrical_level`: whether the beat is the pulse that was found, or half or twice of it.
- `beat_grid`: the beats of a recording, and its tempo.
- `downbeats`: which beats are the first of a bar.
- `chroma`, `key_finding`: the key of a recording.
- `transposing`: the distance to another key.
- `stretching`: another duration at the same pitch.
- `pitch_shifting`: another pitch at the same duration.
- `retiming`: another tempo, another key.
- `looping`: a perfect loop out of a recording.
"""
