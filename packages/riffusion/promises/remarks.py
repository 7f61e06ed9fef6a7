"""What isn't kept of a promise, or can't be heard, in one line each."""

from riffusion.promises.drawing import PromisedClip
from riffusion.promises.hearing import is_in_key, is_in_tempo


def remarks(made: PromisedClip) -> list[str]:
    """One line per promise that isn't surely kept: what is heard, and with which certainty."""
    return [line for line in (_of_tempo(made), _of_key(made)) if line is not None]


def _of_tempo(made: PromisedClip) -> str | None:
    if made.promise is None or made.fit is None or made.promise.tempo_bpm is None:
        return None
    hearing, wanted = made.fit.hearing, made.promise.tempo_bpm
    certainty = f"certainty {hearing.tempo_certainty:.0%}"
    if made.tempo_error_percent is None:
        return (
            f"tempo_bpm: no beat at {wanted:g} is heard{_draws(made)} ({certainty}); the clip is "
            "as long as its beats would be"
        )
    if not is_in_tempo(hearing, wanted):
        return (
            f"tempo_bpm: {hearing.tempo_bpm:.2f} is heard{_draws(made)}, not {wanted:g} "
            f"({certainty})"
        )
    return None


def _of_key(made: PromisedClip) -> str | None:
    if made.promise is None or made.fit is None or made.promise.key is None:
        return None
    found, wanted = made.fit.hearing.key, made.promise.key
    if found is None:
        return f"key: none is heard{_draws(made)}, so {wanted.name} isn't certain"
    certainty = f"certainty {found.certainty:.0%}"
    if not is_in_key(made.fit.hearing, wanted):
        return f"key: {found.key.name} is heard{_draws(made)}, not {wanted.name} ({certainty})"
    if found.key != wanted:
        return f"key: {found.key.name} is heard, with the notes of {wanted.name} ({certainty})"
    return None


def _draws(made: PromisedClip) -> str:
    return f" in {made.num_draws} draws" if made.num_draws > 1 else ""
