"""The model card of a trained checkpoint: networks, data and training."""

from datetime import UTC, datetime
from pathlib import Path

from riffusion.io.files import write_file
from riffusion.training.config import TrainingConfig
from riffusion.training.recipes.recipe import Recipe

_CARD = """---
license: other
library_name: diffusers
tags: [text-to-audio, riffusion, spectrogram]
---

# {name}

Trained by `riffusion {command}` (task `{task}`) on {date}.

## Networks
{facts}

## Data
`{dataset}`: {num_train} training and {num_validation} validation images. The card of the data set,
with origin and licences:

{data_card}

## Training
{steps} steps of {batch} examples per process, AdamW with learning rate {rate:g}, {precision}, EMA
{ema}, seed {seed}.

## Scores
Not evaluated yet: insert the table that `riffusion evaluate` writes.

## Licence
Depends on the licences of the data above; state it here before you publish.
"""


def write_model_card(config: TrainingConfig, recipe: Recipe, directory: Path) -> None:
    """Write `README.md` into a checkpoint."""
    folder, run = recipe.folder, config.run
    card = folder.directory / "README.md"
    data_card = (
        card.read_text(encoding="utf-8") if card.is_file() else "(The data set has no card.)"
    )
    text = _CARD.format(
        name=config.output.name,
        command="distill" if config.task == "distill" else "train",
        task=config.task,
        date=datetime.now(UTC).date().isoformat(),
        facts="\n".join(f"- {name}: {fact}" for name, fact in recipe.facts().items()),
        dataset=folder.address.rstrip("/").rpartition("/")[2],
        num_train=len(folder.rows("train")),
        num_validation=len(folder.rows("validation")),
        data_card="\n".join(f"> {line}".rstrip() for line in data_card.splitlines()),
        steps=run.steps,
        batch=config.data.batch_size * config.data.accumulate,
        rate=config.optimizer.learning_rate,
        precision=f"mixed precision {run.mixed_precision}",
        ema=f"with decay {run.ema_decay}" if run.ema_decay else "off",
        seed=run.seed,
    )
    write_file(text.encode(), directory / "README.md")
