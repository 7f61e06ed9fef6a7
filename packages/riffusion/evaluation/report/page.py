"""The report as one HTML page, with its images beside it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from riffusion.evaluation.report.score_table import percent, score_rows

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ReportImage:
    """An image of the report.

    Args:
        section: it belongs to.
        file_name: relative to the page.
        caption: what it shows.
    """

    section: str
    file_name: str
    caption: str


_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.about { margin-top: .2rem; opacity: .75 }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .22rem .9rem .22rem 0; border-bottom: 1px solid var(--line) }
div.wide { overflow-x: auto }
figure { margin: 1rem 0; overflow-x: auto } figcaption { opacity: .75; font-size: .9em }
img { max-width: 100%; background: #fff } pre { overflow-x: auto; font-size: .85em }
tr.low td { color: #c62828; font-weight: 600 }
"""

_SCORES = """Read each score beside its yardstick, which mostly is the same measure of real clips
that no training has seen. n is how many drawn clips, images or paths are behind a score; a small
n leaves much to chance, and differences within an interval or a spread (±) say nothing. Fréchet
distances shrink as n grows: compare those of equal n, in features of the same classifier."""

_SECTIONS = (
    (
        "adherence",
        "Prompt adherence",
        "Clips are drawn for held-out captions, and a classifier that was trained on real clips "
        "names their sound. It mishears real clips too: share / real is what is heard right, over "
        "what is heard right of real clips. In red: under 80 %.",
    ),
    (
        "memorization",
        "Nearest training clips",
        "How far each drawn clip is from the training clip most like it, in notes and onsets. "
        "Loops of one kind resemble each other, so the question is whether drawn clips are nearer "
        "than real ones of the held-out split. Copies are looked for among the clips of this data "
        "set that were read, not among others that a checkpoint may have been trained on.",
    ),
    (
        "vae",
        "VAE reconstruction",
        "Held-out images, encoded and decoded without diffusion: no clip gets sharper than that.",
    ),
    (
        "img2img",
        "img2img by denoising strength",
        "A real clip is painted over towards another sound. Beat and pitch are correlations of "
        "onsets and of pitch classes with the clip that was painted over: 1 is the same, and clips "
        "that have nothing to do with each other come to what the last row says.",
    ),
    (
        "interpolation",
        "Interpolation",
        "Equal steps from one prompt to the other, with one seed a path. Steps of equal size look "
        "like 1 in the first column, a straight way like 1 in the second.",
    ),
)


def report_page(report: Json, images: Sequence[ReportImage]) -> str:
    """The page.

    Args:
        report: what `report.json` holds.
        images: shown in their sections, in order.
    """
    facts = report["dataset"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Evaluation of {_text(_name(report))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Evaluation of {_text(_name(report))}</h1>",
        f'<p class="about">{_text(report["checkpoint"]["description"])}. '
        f"Against {facts['held_out_clips']} held-out clips of {len(facts['labels'])} labels of the "
        f"data set {_text(facts['name'])}.</p>",
        "<h2>Scores</h2>",
        _table(("score", "value", "yardstick"), score_rows(report)),
        f'<p class="about">{_SCORES}</p>',
    ]
    details = {
        "adherence": _adherence,
        "memorization": _memorization,
        "img2img": _img2img,
        "interpolation": _interpolation,
    }
    for section, title, about in _SECTIONS:
        shown = [image for image in images if image.section == section]
        tables = details[section](report) if section in details and report[section] else ""
        if shown or tables:
            parts += [f"<h2>{title}</h2>", f'<p class="about">{about}</p>', tables]
            parts += map(_figure, shown)
    parts += [
        "<h2>Settings</h2>",
        _table(("setting", "value"), [(k, _shown(v)) for k, v in report["settings"].items()]),
        "<h2>Time</h2>",
        _table(("stage", "seconds"), [(k, f"{v:.1f}") for k, v in report["timings_s"].items()]),
        '<p>Every number is in <a href="report.json">report.json</a>.</p></body></html>',
    ]
    return "\n".join(parts) + "\n"


def _name(report: Json) -> str:
    return str(report["checkpoint"]["description"]).split(" (")[0]


def _adherence(report: Json) -> str:
    scores = report["adherence"]
    heads = ("sound", "kind", "drawn", "heard", "share", "real", "share / real", "mistaken for")
    labels = sorted(scores["labels"], key=lambda label: (label["kind"] == "mixture", label["name"]))
    rows = [
        (
            label["name"],
            label["kind"],
            str(label["clips"]),
            str(label["heard"]),
            percent(label["accuracy"]),
            percent(label["real_accuracy"]),
            percent(label["relative"]),
            label["mistaken_for"],
        )
        for label in labels
    ]
    low = {n for n, label in enumerate(labels) if label["accuracy"] < 0.8}
    parts = [_table(heads, rows, low)]
    held_out = set(scores["held_out_wordings"])
    wordings = [
        (
            group["name"] + (" (not in training)" if group["name"] in held_out else ""),
            of,
            str(group["clips"]),
            percent(group["accuracy"]),
            f"{percent(group['low'])} to {percent(group['high'])}",
            percent(group["relative"]),
        )
        for of, groups in (
            ("single sounds", scores["wordings_of_singles"]),
            ("mixtures", scores["wordings_of_mixtures"]),
        )
        for group in groups
    ]
    wording_heads = ("wording", "of", "drawn", "share heard right", "95 % interval", "share / real")
    return "\n".join([*parts, _table(wording_heads, wordings)])


def _memorization(report: Json) -> str:
    scores = report["memorization"]
    rows = [("all", percent(scores["drawn_near"]), percent(scores["real_near"]))]
    for kind, (drawn, real) in scores["near_by_kind"].items():
        rows.append((kind or "other", percent(drawn), percent(real)))
    return _table(("as near as a copy", "drawn clips", "real held-out clips"), rows)


def _img2img(report: Json) -> str:
    scores = report["img2img"]
    heads = ("strength", "clips", "beat", "pitch", "heard as asked", "still heard as before")
    rows = [
        (
            f"{score['strength']:g}",
            str(score["clips"]),
            f"{score['beat']:.3f}",
            _number(score["pitch"]),
            percent(score["hears_target"]),
            percent(score["hears_seed"]),
        )
        for score in scores["strengths"]
    ]
    rows.append(
        (
            "unrelated clips",
            "",
            f"{scores['unrelated_beat']:.3f}",
            _number(scores["unrelated_pitch"]),
            "",
            "",
        )
    )
    return _table(heads, rows)


def _interpolation(report: Json) -> str:
    scores = report["interpolation"]
    heads = ("space", "largest / mean step", "length / distance of the ends")
    rows = [
        (name, f"{scores[key]['max_to_mean']:.2f}", f"{scores[key]['length_to_distance']:.2f}")
        for name, key in (("classifier's features", "features"), ("images", "pictures"))
    ]
    return _table(heads, rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "all"
    return "–" if value is None else str(value)


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], marked: set[int] | None = None
) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in row)
        lines.append(
            f'<tr class="low">{cells}</tr>' if number in (marked or ()) else f"<tr>{cells}</tr>"
        )
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _figure(image: ReportImage) -> str:
    name, caption = html.escape(image.file_name, quote=True), _text(image.caption)
    return (
        f'<figure><img src="{name}" alt="{caption}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _text(value: object) -> str:
    return html.escape(str(value))
