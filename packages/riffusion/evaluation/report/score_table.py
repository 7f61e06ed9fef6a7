"""The main scores as a short Markdown table, for model cards."""

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def score_table(report: Json) -> str:
    """A table of what was measured, with its yardsticks.

    Args:
        report: what `report.json` holds.

    Returns:
        Markdown with a line break at its end.
    """
    rows = [("score", "value", "yardstick"), ("---", "---", "---"), *score_rows(report)]
    settings = report["settings"]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    sampler = settings["scheduler"] or "the checkpoint's own scheduler"
    lines += [
        "",
        f"Drawn with {settings['steps']} steps of {sampler}, guidance {settings['guidance']:g}, "
        f"seed {settings['seed']}.",
    ]
    return "\n".join(lines) + "\n"


def score_rows(report: Json) -> list[tuple[str, str, str]]:
    """(score, value, yardstick) for each part that was measured."""
    rows = [
        *_adherence_rows(report["adherence"]),
        *_distance_rows(report),
        *_copy_rows(report["memorization"], report["dataset"]["training_clips"]),
        *_vae_rows(report),
        *_img2img_rows(report["img2img"]),
        *_interpolation_rows(report["interpolation"]),
        *((name, "failed", reason) for name, reason in report["failures"].items()),
    ]
    classifier = report["classifier"]
    if classifier:
        where = "trained elsewhere, " if classifier["trained_elsewhere"] else ""
        rows.append(
            (
                "classifier, accuracy on real held-out clips",
                percent(classifier["accuracy"]),
                f"{where}{classifier['held_out_clips']} clips, {len(classifier['labels'])} labels",
            )
        )
    return rows


def percent(share: float | None) -> str:
    """`88.7 %`."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _adherence_rows(adherence: Json | None) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    if not adherence:
        return rows
    for name in ("singles", "mixtures"):
        group = adherence[name]
        if group:
            rows.append(
                (
                    f"prompt adherence, {group['name']} (n = {group['clips']})",
                    f"{percent(group['relative'])} of real "
                    f"({percent(group['accuracy'])}, 95 % interval {percent(group['low'])} to "
                    f"{percent(group['high'])})",
                    f"real held-out clips: {percent(group['real_accuracy'])}",
                )
            )
    worst = min(adherence["labels"], key=lambda label: label["accuracy"])
    mistaken = f", heard as {worst['mistaken_for']}" if worst["mistaken_for"] else ""
    rows.append(
        (
            f"… weakest sound: {worst['name']}",
            f"{worst['heard']} of {worst['clips']}{mistaken}",
            f"real: {percent(worst['real_accuracy'])}",
        )
    )
    held_out = set(adherence["held_out_wordings"])
    unseen = [
        group
        for group in adherence["wordings_of_singles"] + adherence["wordings_of_mixtures"]
        if group["name"] in held_out
    ]
    if unseen:
        clips = sum(group["clips"] for group in unseen)
        heard = sum(group["heard"] for group in unseen)
        rows.append(
            (
                f"… in wordings that training never saw (n = {clips})",
                percent(heard / clips),
                f"{len(held_out)} wordings",
            )
        )
    return rows


def _distance_rows(report: Json) -> list[tuple[str, str, str]]:
    rows = []
    for name, space in (("frechet", "the classifier's features"), ("clap", "CLAP")):
        scores = report[name]
        if scores:
            rows.append(
                (
                    f"Fréchet distance, {space} (n = {scores['clips']})",
                    f"{scores['drawn_to_real']:.3g} ± {scores['drawn_spread']:.2g}",
                    f"as many real to real: {scores['real_to_real']:.3g} ± "
                    f"{scores['real_spread']:.2g}",
                )
            )
    diversity = report["diversity"]
    if diversity:
        rows.append(
            (
                "diversity within a label, drawn / real",
                f"{diversity['ratio']:.2f}",
                "as diverse as real: 1",
            )
        )
    return rows


def _copy_rows(scores: Json | None, training_clips: int) -> list[tuple[str, str, str]]:
    if not scores:
        return []
    return [
        (
            f"nearest of {training_clips} training clips, median distance "
            f"(n = {len(scores['drawn'])})",
            f"{scores['drawn_median']:.3f}",
            f"real held-out clips: {scores['real_median']:.3f}, copies: "
            f"{scores['copied_median']:.3f}",
        ),
        (
            "… as near as a copy",
            percent(scores["drawn_near"]),
            f"real held-out clips: {percent(scores['real_near'])}",
        ),
    ]


def _vae_rows(report: Json) -> list[tuple[str, str, str]]:
    rows = []
    vae = report["vae"]
    if vae:
        rows.append(
            (
                f"VAE, mean absolute error (n = {vae['clips']})",
                f"{vae['error']:.2f} / 255",
                f"worst image: {vae['worst_error']:.2f}",
            )
        )
        rows.append(
            (
                "VAE, edges kept over time / frequency",
                f"{vae['edges_kept_time']:.2f} / {vae['edges_kept_frequency']:.2f}",
                "all: 1",
            )
        )
    classifier = report["classifier"]
    if classifier and classifier["accuracy_through_vae"] is not None:
        rows.append(
            (
                f"VAE, copies heard right (n = {classifier['vae_clips']})",
                percent(classifier["accuracy_through_vae"]),
                f"real: {percent(classifier['accuracy'])}",
            )
        )
    sharpness = report["sharpness"]
    if sharpness:
        rows.append(
            (
                "sharpness of drawn clips over time / frequency",
                f"{sharpness['time_ratio']:.2f} / {sharpness['frequency_ratio']:.2f}",
                "as sharp as real: 1",
            )
        )
    return rows


def _img2img_rows(img2img: Json | None) -> list[tuple[str, str, str]]:
    if not img2img:
        return []
    rows = []
    chance_pitch = img2img["unrelated_pitch"]
    for score in img2img["strengths"]:
        pitch = "–" if score["pitch"] is None else f"{score['pitch']:.2f}"
        chance = f"beat {img2img['unrelated_beat']:.2f}"
        if chance_pitch is not None:
            chance += f", pitch {chance_pitch:.2f}"
        rows.append(
            (
                f"img2img at denoising {score['strength']:g} (n = {score['clips']})",
                f"beat {score['beat']:.2f}, pitch {pitch}, "
                f"heard as asked {percent(score['hears_target'])}",
                f"unrelated clips: {chance}",
            )
        )
    return rows


def _interpolation_rows(scores: Json | None) -> list[tuple[str, str, str]]:
    if not scores:
        return []
    features, images = scores["features"], scores["pictures"]
    return [
        (
            f"interpolation {scores['start']} → {scores['end']}, largest / mean step "
            f"(n = {scores['paths']})",
            f"features {features['max_to_mean']:.2f}, images {images['max_to_mean']:.2f}",
            "even: 1",
        ),
        (
            "… plausible in-betweens",
            percent(scores["plausible_share"]),
            "real clips: 95 %",
        ),
    ]
