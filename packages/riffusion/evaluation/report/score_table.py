"""The main scores as a short Markdown table, for model cards."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
Row = tuple[str, str, str]
"""(score, value, comparison)."""
_CLASSIFIER = "the data set's own classifier"
"""The network that was trained to tell the data set's labels apart. Texture is enough for that."""


def score_table(report: Json) -> str:
    """A table of the main scores, with the value to compare each one with.

    Args:
        report: the content of `report.json`.

    Returns:
        Markdown that ends with a line break.
    """
    settings = report["settings"]
    sampler = settings["scheduler"] or "the checkpoint's own scheduler"
    first, last = settings["guidance_interval"]
    guided = (
        ""
        if (first, last) == (0, 1)
        else f" from {100 * first:g} % to {100 * last:g} % of the steps"
    )
    return (
        f"{markdown_table(('score', 'value', 'yardstick'), score_rows(report))}\n\n"
        f"Drawn with {settings['steps']} steps of {sampler}, guidance {settings['guidance']:g}"
        f"{guided}, seed {settings['seed']}.\n"
    )


def score_rows(report: Json) -> list[Row]:
    """The rows of the table, for each part that was measured.

    What networks from elsewhere hear comes first, the classifier of the data set's own labels last.
    """
    sections = (
        ("listening", _listening_rows),
        ("clap", lambda scores: _frechet_rows(scores, "CLAP")),
        ("sharpness", _sharpness_rows),
        ("vae", _vae_rows),
        (
            "memorization",
            lambda scores: _memorization_rows(scores, report["dataset"]["training_clips"]),
        ),
        ("img2img", _img2img_rows),
        ("interpolation", _interpolation_rows),
        ("diversity", _diversity_rows),
        ("adherence", _adherence_rows),
        ("frechet", lambda scores: _frechet_rows(scores, f"features of {_CLASSIFIER}")),
        ("classifier", _classifier_through_vae_rows),
    )
    rows = [row for name, make in sections if report[name] for row in make(report[name])]
    rows += [(name, "failed", reason) for name, reason in report["failures"].items()]
    return [*rows, *(_classifier_rows(report["classifier"]) if report["classifier"] else ())]


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are plain text."""
    lines = [heads, ["---"] * len(heads), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escape(text: str) -> str:
    """Text in one line without Markdown's or HTML's special characters."""
    return re.sub(r"([\\`*|<\[])", r"\\\1", " ".join(text.split()))


def percent(share: float | None) -> str:
    """`88.7 %`, or a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """`0.887`, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def _listening_rows(scores: Json) -> Iterator[Row]:
    real = scores["real_distance"]
    yardstick = f"other real clips: {real:.3g}"
    for name, key in (
        ("drawn clips", "drawn_distance"),
        ("real clips through the VAE", "copies_distance"),
    ):
        yield (
            f"Fréchet distance of {name}, features of the tagger {scores['tagger']} "
            f"(n = {scores['clips']})",
            f"{scores[key]:.3g}, {scores[key] / max(real, 1e-9):.1f} × real",
            yardstick,
        )
    labels = scores["labels"]
    real, copies, drawn = (
        sum(label[name] for label in labels) / len(labels) for name in ("real", "copies", "drawn")
    )
    yield (
        "… own tag among the first three, mean over labels",
        percent(drawn),
        f"real clips: {percent(real)}, through the VAE: {percent(copies)}",
    )
    worst = min(labels, key=lambda label: label["drawn"] - label["real"])
    yield (
        f"… label that loses most: {worst['name']}, heard as {worst['tag']}",
        percent(worst["drawn"]),
        f"real clips: {percent(worst['real'])}, through the VAE: {percent(worst['copies'])}",
    )
    for label in labels:
        if (of := label["harmonicity"]) is not None:
            yield (
                f"harmonicity of {label['name']}: share / certainty",
                f"{of['drawn']['share']:.2f} / {of['drawn']['certainty']:.2f}",
                f"real clips: {of['real']['share']:.2f} / {of['real']['certainty']:.2f}, "
                f"through the VAE: {of['copies']['share']:.2f} / {of['copies']['certainty']:.2f}",
            )


def _adherence_rows(scores: Json) -> Iterator[Row]:
    for group in (scores["singles"], scores["mixtures"]):
        if group:
            interval = f"{percent(group['low'])} to {percent(group['high'])}"
            yield (
                f"heard as asked by {_CLASSIFIER}, {group['name']} (n = {group['clips']})",
                f"{percent(group['relative'])} of real ({percent(group['accuracy'])}, "
                f"95 % interval {interval})",
                f"real held-out clips: {percent(group['real_accuracy'])}",
            )
    worst = min(scores["labels"], key=lambda label: label["accuracy"])
    mistaken = f", predicted as {worst['mistaken_for']}" if worst["mistaken_for"] else ""
    yield (
        f"… weakest label: {worst['name']}",
        f"{worst['heard']} of {worst['clips']}{mistaken}",
        f"real: {percent(worst['real_accuracy'])}",
    )
    held_out = set(scores["held_out_wordings"])
    groups = scores["wordings_of_singles"] + scores["wordings_of_mixtures"]
    unseen = [group for group in groups if group["name"] in held_out]
    if unseen:
        clips = sum(group["clips"] for group in unseen)
        share = sum(group["heard"] for group in unseen) / clips
        name = f"… with caption templates that training never saw (n = {clips})"
        yield name, percent(share), f"number of templates: {len(held_out)}"


def _frechet_rows(scores: Json, space: str) -> Iterator[Row]:
    yield (
        f"Fréchet distance, {space} (n = {scores['clips']})",
        f"{scores['drawn_to_real']:.3g} ± {scores['drawn_spread']:.2g}",
        f"as many real to real: {scores['real_to_real']:.3g} ± {scores['real_spread']:.2g}",
    )


def _diversity_rows(scores: Json) -> Iterator[Row]:
    yield "diversity within a label, drawn / real", number(scores["ratio"], 2), "as diverse: 1"


def _memorization_rows(scores: Json, training_clips: int) -> Iterator[Row]:
    yield (
        f"nearest of {training_clips} training clips, median distance (n = {len(scores['drawn'])})",
        number(scores["drawn_median"]),
        f"real held-out clips: {number(scores['real_median'])}, "
        f"copies: {number(scores['copied_median'])}",
    )
    real = f"real held-out clips: {percent(scores['real_near'])}"
    yield "… as near as a copy", percent(scores["drawn_near"]), real


def _vae_rows(scores: Json) -> Iterator[Row]:
    yield (
        f"VAE, mean absolute error (n = {scores['clips']})",
        f"{scores['error']:.2f} / 255",
        f"worst image: {scores['worst_error']:.2f}",
    )
    yield (
        "VAE, edges kept over time / frequency",
        f"{scores['edges_kept_time']:.2f} / {scores['edges_kept_frequency']:.2f}",
        "all: 1",
    )


def _classifier_through_vae_rows(scores: Json) -> Iterator[Row]:
    if scores["accuracy_through_vae"] is not None:
        yield (
            f"{_CLASSIFIER}, accuracy through the VAE (n = {scores['vae_clips']})",
            percent(scores["accuracy_through_vae"]),
            f"real: {percent(scores['accuracy'])}",
        )


def _sharpness_rows(scores: Json) -> Iterator[Row]:
    yield (
        "sharpness of drawn clips over time / frequency",
        f"{scores['time_ratio']:.2f} / {scores['frequency_ratio']:.2f}",
        "as sharp as real: 1",
    )


def _img2img_rows(scores: Json) -> Iterator[Row]:
    chance = f"beat {scores['unrelated_beat']:.2f}"
    if scores["unrelated_pitch"] is not None:
        chance += f", pitch {scores['unrelated_pitch']:.2f}"
    for score in scores["strengths"]:
        yield (
            f"img2img at denoising {score['strength']:g} (n = {score['clips']})",
            f"beat {score['beat']:.2f}, pitch {number(score['pitch'], 2)}, "
            f"target label {percent(score['hears_target'])}",
            f"unrelated clips: {chance}",
        )


def _interpolation_rows(scores: Json) -> Iterator[Row]:
    features, images = scores["features"]["max_to_mean"], scores["pictures"]["max_to_mean"]
    yield (
        f"interpolation {scores['start']} → {scores['end']}, largest / mean step "
        f"(n = {scores['paths']})",
        f"features {features:.2f}, images {images:.2f}",
        "even: 1",
    )
    yield "… plausible in-betweens", percent(scores["plausible_share"]), "real clips: 95 %"


def _classifier_rows(scores: Json) -> Iterator[Row]:
    where = "trained elsewhere, " if scores["trained_elsewhere"] else ""
    yield (
        f"{_CLASSIFIER}, accuracy on real held-out clips",
        percent(scores["accuracy"]),
        f"{where}{scores['held_out_clips']} clips, {len(scores['labels'])} labels",
    )
