"""Scores of made-up tunes."""

from corpora.general_midi.scores import Score


def score(name: str, collection: str = "tunes", num_bars: int = 12) -> Score:
    """A scale up and down in quarter notes, four to a bar."""
    scale = (60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62)
    voice = tuple((float(i), 1.0, scale[i % len(scale)]) for i in range(4 * num_bars))
    bars = tuple(4.0 * bar for bar in range(num_bars))
    return Score(name, collection, "major", 1.0, bars, 4.0 * num_bars, (voice,))


SCORES = [score(f"tune {number}") for number in range(40)]
