"""Captions: many templates, filled with facts that are true of a clip.

The templates in `HELD_OUT_TEMPLATES` are used only for validation, which so measures how a model
responds to captions that it wasn't trained on.
"""

from dataclasses import dataclass

import numpy as np

from corpora.general_midi.fillers import FILLERS
from corpora.general_midi.sound import Kind, Sound
from corpora.general_midi.sounds import SOUNDS

BARE, FILLED = "bare", "filled"
NUM_CAPTIONS = 12
_MAX_FILLERS = 3
_FILLED_SHARE = 1 / 3
_STATED_SHARE = 0.5

TEMPLATES: dict[str, str] = {
    BARE: "{label}",
    "synonym": "{name}",
    "article": "{a_name}",
    "playing": "{name} playing {piece}",
    "recording": "a recording of {a_name}",
    "sound_of": "the sound of {name}",
    "music_for": "music for {name}",
    "someone": "someone playing {name}",
    "loop": "{name} loop",
    "listen": "listen to {name}",
    "with": "{piece} with {name}",
    "request": "play me {piece} on {name}",
    "i_want": "i want to hear {name}",
    "described_first": "{words} {name}",
    "described_last": "{name}, {words_listed}",
    "style_first": "{style} {name}",
    "style_sentence": "{style} music with {name}",
    "mood_sentence": "{words} music for {name}",
    "mood_piece": "{words} {noun} played by {name}",
    "list": "{name}, {words_listed}, {style}",
    "tempo_bpm": "{name} at {bpm} bpm",
    "tempo_last": "{name}, {style}, {bpm} bpm",
}
"""Caption templates of both splits."""
HELD_OUT_TEMPLATES: dict[str, str] = {
    "held_out_only": "nothing but {name}",
    "held_out_performance": "a performance on {name}",
    "held_out_give": "give me some {name}, please",
    "held_out_instrumental": "instrumental track, {name}",
    "held_out_that": "{piece} that features {name}",
    "held_out_featured": "{name} clip, {style} style",
}
"""Caption templates of validation only."""
_ALL_TEMPLATES = TEMPLATES | HELD_OUT_TEMPLATES

_NOUNS: dict[Kind, tuple[str, ...]] = {
    "instrument": ("melody", "tune", "piece", "song"),
    "beat": ("groove", "rhythm", "pattern", "beat"),
    "mixture": ("song", "piece", "tune", "track"),
}
_SOME = ("percussion", "brass", "music", "jazz", "strumming", "singing", "keys", "strings")
_NO_ARTICLE = ("ambient", "techno", "hip hop", "lofi", "synthwave", "bossa nova", "bossa", "outrun")


@dataclass(frozen=True)
class Description:
    """The facts that captions may state about a clip.

    Args:
        sound: the sound.
        tempo: `slow`, `fast` or empty.
        moods: moods that are true.
        style: style of the music.
        tempo_bpm: beats per minute.
    """

    sound: Sound
    tempo: str
    moods: tuple[str, ...]
    style: str
    tempo_bpm: float


def write_captions(
    description: Description, rng: np.random.Generator, is_validation: bool
) -> list[tuple[str, str]]:
    """Different captions of a clip, (template, caption), starting with the label alone.

    About half of them state something besides the name, and a third have 1 to 3 filler words
    (template `filled`).

    Args:
        description: the facts.
        rng: chooses templates and words.
        is_validation: whether a caption of every held-out template is added.
    """
    found: dict[str, str] = {description.sound.label: BARE}
    plain = [name for name in TEMPLATES if name != BARE and not _states(name)]
    stating = [name for name in TEMPLATES if _states(name)]
    while len(found) < NUM_CAPTIONS:
        names = stating if rng.random() < _STATED_SHARE else plain
        name = names[int(rng.integers(len(names)))]
        caption = _fill(name, description, rng)
        if rng.random() < _FILLED_SHARE * NUM_CAPTIONS / (NUM_CAPTIONS - 1):
            name, caption = FILLED, _with_fillers(caption, rng)
        found.setdefault(caption, name)
    if is_validation:
        for name in HELD_OUT_TEMPLATES:
            found.setdefault(_fill(name, description, rng), name)
    return [(name, caption) for caption, name in found.items()]


def prompts_for(label: str) -> list[tuple[str, str]]:
    """One prompt for a sound from every template, held-out ones included: (template, prompt).

    Raises:
        KeyError: the sound is unknown.
    """
    sound = SOUNDS[label]
    description = Description(sound, "", (), sound.styles[0], 93.75)
    rng = np.random.default_rng(0)
    return [(name, _fill(name, description, rng)) for name in _ALL_TEMPLATES]


def _states(name: str) -> bool:
    """Whether a template states more than the name of the sound."""
    return any(field in TEMPLATES[name] for field in ("{words", "{style}", "{bpm}"))


def _fill(template: str, description: Description, rng: np.random.Generator) -> str:
    """Fill a template; if no word is true, the style is used."""
    sound = description.sound
    name = _choice(rng, sound.names) if rng.random() < 0.6 else sound.label
    true = [description.tempo, *rng.permutation(description.moods).tolist()]
    words = [word for word in true if word][: int(rng.integers(1, 3))] or [description.style]
    if rng.random() < 0.3:
        words = words[::-1]
    noun = _choice(rng, _NOUNS[sound.kind])
    piece = noun if rng.random() < 0.5 else f"{words[0]} {noun}"
    text = _ALL_TEMPLATES[template].format(
        label=sound.label,
        name=name,
        a_name=with_article(name),
        piece=with_article(piece),
        noun=noun,
        words=" and ".join(words),
        words_listed=", ".join(words),
        style=description.style,
        bpm=round(description.tempo_bpm),
    )
    return text.replace(f"{description.style}, {description.style}", description.style)


def with_article(name: str) -> str:
    """`name` with a, an, some, or no article."""
    last = name.split()[-1]
    if name in _NO_ARTICLE or last in _SOME:
        return name
    if last.endswith("s") and not last.endswith("ss"):
        return f"some {name}"
    return f"an {name}" if name[0] in "aeio" else f"a {name}"


def _with_fillers(caption: str, rng: np.random.Generator) -> str:
    """The caption with 1 to 3 random filler words inserted."""
    words = caption.split()
    for _ in range(int(rng.integers(1, _MAX_FILLERS + 1))):
        # Only at the ends and after commas, so that names of several words stay together.
        places = [0, len(words)] + [i + 1 for i, word in enumerate(words) if word.endswith(",")]
        words.insert(places[int(rng.integers(len(places)))], _choice(rng, FILLERS))
    return " ".join(words)


def _choice(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
