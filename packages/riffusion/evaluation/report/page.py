"""The report as a Markdown page, with its images beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from riffusion.evaluation.report.score_table import (
    Json,
    escape,
    markdown_table,
    number,
    percent,
    score_rows,
)

_LOW_ACCURACY = 0.8


@dataclass(frozen=True)
class ReportImage:
    """An image of the report.

    Args:
        section: name of the section that shows it.
        file_name: file name, relative to the page.
        caption: description of the image.
    """

    section: str
    file_name: str
    caption: str


_SCORES = """Compare each score with its yardstick, which usually is the same measure of real clips
that no training has seen. n is the number of drawn clips, images or paths behind a score. With a
small n, chance is large: differences within an interval or a spread (±) mean nothing. Fréchet
distances shrink as n grows, so compare only those of equal n and of the same network."""

_SECTIONS = (
    (
        "listening",
        "Heard by an independent tagger",
        "A network that was trained on other music names tags for each clip. A label's own tag is "
        "the one in its name, or else the one that its real clips have more often than others. "
        "Harmonicity is the share of energy at multiples of the tracked pitch, and how certain the "
        "tracker is that there is a pitch; it is measured where real clips have a clear pitch.",
    ),
    (
        "memorization",
        "Nearest training clips",
        "The distance of each drawn clip to the most similar training clip, by notes and onsets. "
        "Loops of one kind are similar anyway, so the question is whether drawn clips are nearer "
        "than real held-out clips. Only the clips of this data set that were read are compared, "
        "not others that the checkpoint may have been trained on.",
    ),
    (
        "vae",
        "VAE reconstruction",
        "Held-out images, encoded and decoded without diffusion: drawn clips can't be sharper.",
    ),
    (
        "img2img",
        "img2img by denoising strength",
        "A real clip is the init image, and another label is the prompt. Beat and pitch are "
        "correlations of onsets and of pitch classes with the init image: 1 means equal, and the "
        "last row is what unrelated clips have.",
    ),
    (
        "interpolation",
        "Interpolation",
        "Equal steps from one prompt to the other, with one seed per path. Equal step sizes give "
        "1 in the first column, a straight path gives 1 in the second.",
    ),
    (
        "adherence",
        "Prompt adherence, by the data set's own classifier",
        "Clips are drawn for held-out captions, and a classifier that was trained on real clips of "
        "this data set predicts their labels. Texture and envelope are enough for it, so a high "
        "share doesn't mean that clips sound real. It makes errors on real clips too: share / real "
        "is its accuracy on drawn clips over its accuracy on real clips. Shares below 80 % are "
        "marked ↓.",
    ),
)


def report_page(report: Json, images: Sequence[ReportImage]) -> str:
    """The page.

    Args:
        report: the content of `report.json`.
        images: images of the sections, in order.

    Returns:
        Markdown that ends with a line break.
    """
    description, facts = report["checkpoint"]["description"], report["dataset"]
    parts = [
        f"# Evaluation of {escape(description.split(' (')[0])}",
        f"{escape(description)}. Compared with {facts['held_out_clips']} held-out clips of "
        f"{len(facts['labels'])} labels of the data set {escape(facts['name'])}.",
        "## Scores",
        markdown_table(("score", "value", "yardstick"), score_rows(report)),
        _SCORES,
    ]
    tables = {
        "listening": _listening_tables,
        "adherence": _adherence_tables,
        "memorization": _memorization_tables,
        "img2img": _img2img_tables,
        "interpolation": _interpolation_tables,
    }
    for section, title, about in _SECTIONS:
        contents = tables[section](report[section]) if report[section] and section in tables else []
        contents += [
            f"{image.caption}\n\n![{image.caption}]({image.file_name})"
            for image in images
            if image.section == section
        ]
        if contents:
            parts += [f"## {title}", about, *contents]
    settings = [(name, _setting(value)) for name, value in report["settings"].items()]
    timings = [(name, f"{seconds:.1f}") for name, seconds in report["timings_s"].items()]
    parts += ["## Settings", markdown_table(("setting", "value"), settings)]
    parts += ["## Time", markdown_table(("stage", "seconds"), timings)]
    parts += ["[report.json](report.json) contains all numbers."]
    return "\n\n".join(parts) + "\n"


def _listening_tables(scores: Json) -> list[str]:
    heard = [
        (
            label["name"],
            label["tag"],
            *(percent(label[name]) for name in ("real", "copies", "drawn")),
            *(number(label[f"{name}_mean"], 2) for name in ("real", "copies", "drawn")),
        )
        for label in scores["labels"]
    ]
    heads = ("label", "tag", "first three: real", "VAE", "drawn", "mean: real", "VAE", "drawn")
    harmonicity = [
        (
            label["name"],
            *(
                number(label["harmonicity"][name]["share"], 2)
                for name in ("real", "copies", "drawn")
            ),
            *(
                number(label["harmonicity"][name]["certainty"], 2)
                for name in ("real", "copies", "drawn")
            ),
        )
        for label in scores["labels"]
        if label["harmonicity"]
    ]
    tables = [markdown_table(heads, heard)]
    if harmonicity:
        columns = ("label", "share: real", "VAE", "drawn", "certainty: real", "VAE", "drawn")
        tables.append(markdown_table(columns, harmonicity))
    return tables


def _adherence_tables(scores: Json) -> list[str]:
    labels = sorted(scores["labels"], key=lambda label: (label["kind"] == "mixture", label["name"]))
    rows = [
        (
            label["name"],
            label["kind"],
            str(label["clips"]),
            str(label["heard"]),
            percent(label["accuracy"]) + (" ↓" if label["accuracy"] < _LOW_ACCURACY else ""),
            percent(label["real_accuracy"]),
            percent(label["relative"]),
            label["mistaken_for"],
        )
        for label in labels
    ]
    held_out = set(scores["held_out_wordings"])
    templates = [
        (
            group["name"] + (" (not in training)" if group["name"] in held_out else ""),
            kind,
            str(group["clips"]),
            percent(group["accuracy"]),
            f"{percent(group['low'])} to {percent(group['high'])}",
            percent(group["relative"]),
        )
        for kind, groups in (
            ("single sounds", scores["wordings_of_singles"]),
            ("mixtures", scores["wordings_of_mixtures"]),
        )
        for group in groups
    ]
    return [
        markdown_table(
            ("label", "kind", "drawn", "right", "share", "real", "share / real", "mistaken for"),
            rows,
        ),
        markdown_table(
            ("caption template", "of", "drawn", "share", "95 % interval", "share / real"), templates
        ),
    ]


def _memorization_tables(scores: Json) -> list[str]:
    rows = [("all", percent(scores["drawn_near"]), percent(scores["real_near"]))]
    for kind, (drawn, real) in scores["near_by_kind"].items():
        rows.append((kind or "other", percent(drawn), percent(real)))
    return [markdown_table(("as near as a copy", "drawn clips", "real held-out clips"), rows)]


def _img2img_tables(scores: Json) -> list[str]:
    rows = [
        (
            f"{score['strength']:g}",
            str(score["clips"]),
            number(score["beat"]),
            number(score["pitch"]),
            percent(score["hears_target"]),
            percent(score["hears_seed"]),
        )
        for score in scores["strengths"]
    ]
    unrelated = (number(scores["unrelated_beat"]), number(scores["unrelated_pitch"]))
    heads = ("strength", "clips", "beat", "pitch", "target label", "label of the init image")
    return [markdown_table(heads, [*rows, ("unrelated clips", "", *unrelated, "", "")])]


def _interpolation_tables(scores: Json) -> list[str]:
    rows = [
        (name, number(scores[key]["max_to_mean"], 2), number(scores[key]["length_to_distance"], 2))
        for name, key in (("classifier's features", "features"), ("images", "pictures"))
    ]
    heads = ("space", "largest / mean step", "length / distance of the ends")
    return [markdown_table(heads, rows)]


def _setting(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "all"
    return "–" if value is None else str(value)
