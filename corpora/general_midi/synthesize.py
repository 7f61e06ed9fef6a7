"""Makes the corpus: composes, captions and plays every clip, and writes its image."""

from collections.abc import Callable, Sequence
from pathlib import Path

from corpora.general_midi.captions import Description, write_captions
from corpora.general_midi.card import card_text
from corpora.general_midi.composition import Clip, clip_rng, compose
from corpora.general_midi.options import CorpusOptions
from corpora.general_midi.rendering import Job, render_clips
from corpora.general_midi.scores import Score, load_scores
from corpora.general_midi.sound import Sound
from corpora.general_midi.sounds import SOUNDS, find_sounds
from corpora.general_midi.synthesizer import Synthesizer, find_soundfont
from riffusion.datasets.folder import (
    SPLITS,
    DatasetRow,
    claim_directory,
    sole_writer,
    write_metadata,
)
from riffusion.errors import InputError
from riffusion.io.files import write_file
from riffusion.runtime.cluster import RayCluster
from riffusion.spectrogram.params import SpectrogramParams

COMMAND = "dataset synthesize"

Progress = Callable[[str, int, int], None]


def synthesize_corpus(
    directory: Path,
    options: CorpusOptions,
    num_processes: int | None = None,
    progress: Progress | None = None,
    cluster: RayCluster | None = None,
) -> dict[str, int]:
    """Make a data-set folder, or resume one that was begun with the same options.

    Args:
        directory: the folder; it is created if needed.
        options: options; they decide every byte of the folder.
        num_processes: number of processes; None uses one per CPU.
        progress: called with the current task, the number of items done, and the total.
        cluster: where clips are made in place of this machine; see `render_clips`.

    Returns:
        The number of clips per split.

    Raises:
        InputError: a soundfont or music21 is missing, a sound is unknown, the folder was made with
            other options or is in use by another run, or a file can't be written. The clips
            written so far are kept.
        RiffusionError: FluidSynth isn't installed, a process died, or the cluster can't be used.
    """
    if num_processes is not None and num_processes < 1:
        raise InputError(f"{num_processes} must be at least 1", field="processes")
    report = progress or (lambda task, done, total: None)
    sounds = find_sounds(None if options.sounds is None else list(options.sounds))
    soundfont = find_soundfont(options.soundfont)
    synthesizer = Synthesizer(soundfont)  # raises before anything is written
    claim_directory(directory, COMMAND, options.to_json(sounds, soundfont), SpectrogramParams())
    scores: list[Score] = []
    if options.with_scores:
        scores = load_scores(lambda done, total: report("Parsing scores", done, total))
    with sole_writer(directory):
        jobs = _jobs(directory, options, sounds)
        missing = [job for job in jobs if not job.path.is_file()]
        done = len(jobs) - len(missing)
        for count in render_clips(
            missing, synthesizer, options.seed, scores, num_processes, cluster
        ):
            done += count
            report("Playing clips", done, len(jobs))
        for folder in {job.path.parent for job in missing}:
            _remove_unfinished_files(folder)  # of workers of a cluster that were killed
        counts = _write_rows(directory, jobs, options.seed, scores)
        card = card_text(options, sounds, soundfont, counts)
        write_file(card.encode(), directory / "README.md")
    return counts


def clip_row(clip: Clip, seed: int) -> DatasetRow:
    """The metadata row of a clip."""
    facts = clip.facts
    description = Description(clip.sound, facts.tempo, facts.moods, clip.style, facts.tempo_bpm)
    rng = clip_rng(seed, clip.sound, clip.split, clip.index, "captions")
    captions = write_captions(description, rng, clip.split == "validation")
    first = 0 if clip.split == "validation" else int(rng.integers(len(captions)))
    return DatasetRow(
        file_name=_file_name(clip.sound, clip.index),
        text=captions[first][1],
        captions=tuple(caption for _, caption in captions),
        wordings=tuple(template for template, _ in captions),
        label=clip.sound.label,
        kind=clip.sound.kind,
        source=clip.source,
        extras={
            "style": clip.style,
            "mode": clip.mode,
            "moods": ", ".join(facts.moods),
            "tempo": facts.tempo,
            "tempo_bpm": round(facts.tempo_bpm, 2),
            "beats": clip.beats,
            "onsets_per_s": round(facts.onsets_per_s, 2),
        },
    )


def _file_name(sound: Sound, index: int) -> str:
    return f"{sound.folder}/{index:06d}.png"


def _jobs(directory: Path, options: CorpusOptions, sounds: Sequence[Sound]) -> list[Job]:
    """Every clip of the corpus, done or not.

    Creates the folders of the images, and deletes temporary files of a run that was killed.
    """
    jobs = []
    for split in SPLITS:
        num_clips = options.num_clips(split)
        for sound in sounds if num_clips else ():
            folder = directory / split / sound.folder
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _remove_unfinished_files(folder)
            except OSError as error:
                raise InputError(
                    f"output={str(folder)!r} cannot be written ({error.strerror}); make room "
                    "there, or choose another folder"
                ) from error
            for index in range(num_clips):
                path = directory / split / _file_name(sound, index)
                jobs.append(Job(sound.label, split, index, path))
    return jobs


def _remove_unfinished_files(folder: Path) -> None:
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _write_rows(
    directory: Path, jobs: Sequence[Job], seed: int, scores: Sequence[Score]
) -> dict[str, int]:
    """Write the metadata of the splits. Returns the number of rows per split."""
    counts: dict[str, int] = {}
    for split in SPLITS:
        rows = [
            clip_row(compose(SOUNDS[job.label], split, job.index, seed, scores), seed)
            for job in jobs
            if job.split == split
        ]
        counts[split] = len(rows)
        if rows:
            write_metadata(directory, split, rows)
    return counts
