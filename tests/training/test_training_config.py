"""A bad configuration is refused with one line that names the value, the rule and the remedy."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from riffusion.errors import InputError
from riffusion.training import config as sections
from riffusion.training.config import FineTuneConfig, TrainingConfig, load_config

NEEDED: dict[str, dict[str, Any]] = {
    "autoencoder": {},
    "text_to_spectrogram": {"vae": "v"},
    "unconditional": {},
    "audio_conditional": {"encoder": {"network": {}}},
    "fine_tune": {"checkpoint": "c"},
    "distill": {"checkpoint": "c"},
}
"""Required keys of each task, besides `output`, `data` and `run`."""


def load(tmp_path: Path, task: str, changes: dict[str, Any], *overrides: str) -> TrainingConfig:
    """Load the minimal configuration of a task with `section.key` changes."""
    values: dict[str, Any] = {
        "task": task,
        "output": "o",
        "data": {"dataset": "d"},
        "run": {"steps": 200},
        **copy.deepcopy(NEEDED[task]),
    }
    for name, value in changes.items():
        *places, key = name.split(".")
        section = values
        for place in places:
            section = section.setdefault(place, {})
        section[key] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_config(path, overrides)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_files_of_other_editors_are_read(tmp_path: Path, encoding: str, line_break: str) -> None:
    expected = load(tmp_path, "fine_tune", {"data.dataset": "Läuten"})
    path = tmp_path / "config.yaml"
    text = path.read_text("utf-8").replace("\n", line_break)
    path.write_bytes(text.encode(encoding))
    assert load_config(path) == expected


def refusal(tmp_path: Path, task: str, changes: dict[str, Any], *overrides: str) -> str:
    """The line that refuses a configuration, without the file's name."""
    with pytest.raises(InputError) as caught:
        load(tmp_path, task, changes, *overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line.removeprefix(f"config={str(tmp_path / 'config.yaml')!r}: ")


@pytest.mark.parametrize("task", NEEDED)
def test_the_minimal_configuration_of_each_task_is_valid(tmp_path: Path, task: str) -> None:
    config = load(tmp_path, task, {})
    assert (config.task, config.data.batch_size, config.output) == (task, 16, Path("o"))


@pytest.mark.parametrize(
    ("task", "place", "section"),
    [
        ("autoencoder", "", sections.AutoencoderConfig),
        ("autoencoder", "loss.", sections.AutoencoderLossConfig),
        ("autoencoder", "data.", sections.DataConfig),
        ("autoencoder", "run.", sections.RunConfig),
        ("autoencoder", "optimizer.", sections.OptimizerConfig),
        ("text_to_spectrogram", "objective.", sections.ObjectiveConfig),
        ("text_to_spectrogram", "sample.", sections.SampleConfig),
        ("unconditional", "sample.", sections.UnconditionalSampleConfig),
        ("audio_conditional", "encoder.", sections.EncoderConfig),
        ("audio_conditional", "sample.", sections.EncodedSampleConfig),
        ("fine_tune", "objective.", sections.TimestepConfig),
        ("fine_tune", "lora.", sections.LoraConfig),
        ("fine_tune", "data.replay.", sections.ReplayConfig),
        ("distill", "", sections.DistillationConfig),
        ("distill", "sample.", sections.DistillationSampleConfig),
        ("distill", "lora.", sections.LoraConfig),
    ],
)
def test_an_unknown_key_is_refused_with_the_known_ones(
    tmp_path: Path, task: str, place: str, section: type[BaseModel]
) -> None:
    others = {"data.replay.dataset": "d"} if place == "data.replay." else {}
    line = refusal(tmp_path, task, {**others, f"{place}stepz": 1})
    assert line == f"{place}stepz is not a known key; known: {', '.join(section.model_fields)}"


ENCODER_RULE = "encoder: needs exactly one of column, file, clap and network, not "


@pytest.mark.parametrize(
    ("task", "changes", "line"),
    [
        ("autoencoder", {"run.steps": 0}, "run.steps=0 must be greater than or equal to 1"),
        ("autoencoder", {"run.steps": "many"}, "run.steps='many' must be a valid integer"),
        ("autoencoder", {"run.mixed_precision": "fp8"}, "='fp8' must be 'no', 'bf16' or 'fp16'"),
        ("autoencoder", {"optimizer.learning_rate": -1}, "rate=-1 must be greater than 0"),
        ("autoencoder", {"optimizer.learning_rate": float("nan")}, "=nan must be a finite number"),
        ("autoencoder", {"data": 5}, "data=5 must be a section with the keys dataset, batch_size"),
        ("autoencoder", {"data": {}}, "data.dataset is missing"),
        ("autoencoder", {"output": 3}, "output=3 must be a path"),
        ("autoencoder", {"autoencoder": 3}, "autoencoder=3 must be a section of names and values"),
        ("autoencoder", {"sample.prompts": "x"}, "sample.prompts='x' must be a list"),
        (
            "autoencoder",
            {"run.steps": 10},
            "optimizer.warmup_steps=100 exceeds run.steps=10; lower it",
        ),
        (
            "autoencoder",
            {"train_decoder_only": True},
            "train_decoder_only=true keeps the encoder of init_from; name a checkpoint there",
        ),
        (
            "text_to_spectrogram",
            {"data.crop_width": 64},
            "data.crop_width=64 crops pixels, but this task encodes whole images into latents; "
            "leave it out",
        ),
        ("fine_tune", {"data.crop_width": 64}, "data.crop_width=64 crops pixels"),
        ("unconditional", {"vae": "v", "data.crop_width": 64}, "data.crop_width=64 crops pixels"),
        ("text_to_spectrogram", {"vocabulary_size": 100}, "vocabulary_size=100 must be greater"),
        (
            "unconditional",
            {"objective.noise_schedule": {"prediction_type": "epsilon"}},
            "objective.noise_schedule.prediction_type contradicts objective.prediction="
            "'v_prediction'; state it in objective.prediction alone",
        ),
        (
            "unconditional",
            {
                "objective.prediction": "epsilon",
                "objective.noise_schedule": {"rescale_betas_zero_snr": True},
            },
            "objective.noise_schedule.rescale_betas_zero_snr=true leaves no signal at the last "
            "timestep, where the noise tells nothing about the image; use objective.prediction="
            "v_prediction",
        ),
        (
            "unconditional",
            {"vae": "v", "channels": 3},
            "channels=3 applies to pixels, but vae='v' determines the channels of latents; leave "
            "one of them out",
        ),
        ("unconditional", {"channels": 2}, "channels=2 must be 1 or 3"),
        (
            "unconditional",
            {"vae": "v", "sample.sampler": "ddpm"},
            "sample.sampler='ddpm' is for pixels; latents are sampled with ddim: leave out "
            "sample.sampler or vae",
        ),
        ("audio_conditional", {"encoder": {}}, f"{ENCODER_RULE}none"),
        ("audio_conditional", {"encoder": {"column": None}}, f"{ENCODER_RULE}none"),
        (
            "audio_conditional",
            {"encoder": {"file": "f", "column": "c"}},
            f"{ENCODER_RULE}column and file",
        ),
        (
            "fine_tune",
            {"train_unet": False},
            "train_unet=false, train_text_encoder=false and no new_words leave nothing to train; "
            "enable one of them",
        ),
        (
            "fine_tune",
            {"train_unet": False, "new_words": ["sitar"], "lora": {}},
            "lora has no network to update, as train_unet=false and train_text_encoder=false; "
            "enable one of them, or leave lora out to train only new_words",
        ),
        (
            "fine_tune",
            {"lora.text_encoder_modules": ["q_proj"]},
            "lora.text_encoder_modules contradicts train_text_encoder=false; leave one of them out",
        ),
        (
            "fine_tune",
            {"train_unet": False, "train_text_encoder": True, "lora.unet_modules": ["to_q"]},
            "lora.unet_modules contradicts train_unet=false; leave one of them out",
        ),
        (
            "fine_tune",
            {"lora.unet_modules": []},
            "lora.unet_modules=[] updates nothing; set train_unet=false instead",
        ),
        ("fine_tune", {"lora": True}, "lora=True must be a section with the keys rank, alpha, dro"),
        ("fine_tune", {"new_words": ["a "]}, "new_words=['a '] must not be empty or begin or end"),
        ("fine_tune", {"new_words": [""]}, "new_words=[''] must not be empty or begin or end"),
        (
            "fine_tune",
            {"new_words": ["Sitar", "sitar"]},
            "new_words=['Sitar', 'sitar'] must differ in more than case; name each once",
        ),
        ("fine_tune", {"new_words": 3}, "new_words=3 must be a list, as in [one, two]"),
        (
            "fine_tune",
            {"data.replay": {"dataset": "d", "share": 1}},
            "data.replay.share=1 must be less than 1",
        ),
        (
            "fine_tune",
            {"objective.prediction": "epsilon"},
            "objective.prediction is not a known key; known: min_snr_gamma, timesteps",
        ),
    ],
)
def test_a_bad_value_or_a_contradiction_is_named(
    tmp_path: Path, task: str, changes: dict[str, Any], line: str
) -> None:
    assert line in refusal(tmp_path, task, changes)


def test_every_problem_is_named_once(tmp_path: Path) -> None:
    changes = {"run.steps": 0, "data.circular_shifts": 0, "unet": {}}
    line = refusal(tmp_path, "autoencoder", changes)
    problems = [problem.partition(" ")[0] for problem in line.split("; ")]
    assert problems.count("run.steps=0") == problems.count("data.circular_shifts=0") == 1
    assert "unet" in problems


def test_former_names_of_keys_are_accepted(tmp_path: Path) -> None:
    config = load(tmp_path, "unconditional", {"data.rolls": 4, "sample.pictures": 3})
    assert config.data.circular_shifts == 4
    assert isinstance(config, sections.UnconditionalConfig)
    assert config.sample.images == 3
    overridden = load(tmp_path, "unconditional", {"data.circular_shifts": 4}, "data.rolls=2")
    assert overridden.data.circular_shifts == 2
    line = refusal(tmp_path, "unconditional", {"data.circular_shifts": 4, "data.rolls": 2})
    assert line == ("data.rolls is the former name of data.circular_shifts; drop one of the two")


@pytest.mark.parametrize("task", [None, "vae", 3, ["autoencoder"]])
def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path: Path, task: object) -> None:
    line = refusal(tmp_path, "autoencoder", {"task": task})
    assert line == f"task={task!r} must be one of {', '.join(NEEDED)}"


def test_values_are_overridden(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "fine_tune",
        {},
        "run.steps=500",
        "optimizer.learning_rate=5e-4",
        "new_words={Sitar: acoustic guitar, raga: null}",
        "data.replay.dataset=old",
    )
    assert isinstance(config, FineTuneConfig)
    assert config.run.steps == 500
    assert config.optimizer.learning_rate == 5e-4
    assert config.initial_phrases == {"sitar": "acoustic guitar", "raga": "raga"}
    assert config.data.replay is not None
    assert config.data.replay.dataset == Path("old")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("run.steps", "override='run.steps' must look like run.steps=500"),
        ("=3", "override='=3' must look like run.steps=500"),
        (".steps=3", "override='.steps=3' must look like run.steps=500"),
        ("run.=3", "override='run.=3' must look like run.steps=500"),
        ("run.steps.x=3", "override='run.steps.x=3': 'steps' holds a value, not a section"),
        ("run.steps=[1", "override='run.steps=[1': the value is not YAML"),
        ("run.stepz=1", "run.stepz is not a known key; known: steps, "),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, line: str) -> None:
    assert refusal(tmp_path, "autoencoder", {}, override).startswith(line)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a: [", "cannot be read as YAML: while parsing a flow node"),
        ("- task", "must hold a mapping with `task`, `data`, `run` …"),
        ("", "must hold a mapping with `task`, `data`, `run` …"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_named(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"config={str(path)!r} {rule}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config='.*none.yaml' cannot be read as YAML: .*No such"):
        load_config(tmp_path / "none.yaml")


DISTILLATION_REFUSALS: list[tuple[dict[str, Any], str]] = [
    (
        {"guidance": [0.5, 10]},
        "guidance=[0.5, 10] must be the lowest and the highest scale, from 1 (no guidance) "
        "upwards, as in [1, 10]",
    ),
    (
        {"guidance": [10, 1]},
        "guidance=[10, 1] must be the lowest and the highest scale, from 1 (no guidance) upwards, "
        "as in [1, 10]",
    ),
    ({"guidance": 7}, "guidance=7 must be a list, as in [one, two]"),
    (
        {"guidance": [2, 4], "sample.guidance": 7},
        "sample.guidance=7 is outside guidance=[2, 4], the range that the student learns; choose "
        "one inside it",
    ),
    (
        {"lora.rank": 4},
        "lora is for student=lora, but student='full' trains the whole UNet; leave one of them out",
    ),
    (
        {"student": "lora", "target_decay": 0.9},
        "target_decay=0.9 needs a second copy of the weights, which student=lora doesn't have; "
        "leave it out, or set student=full",
    ),
    (
        {"student": "lora", "guided_share": 0.5},
        "guided_share=0.5 is for student=full; a LoRA can be taken off for guided sampling: leave "
        "guided_share out",
    ),
    (
        {"student": "lora", "lora.unet_modules": []},
        "lora.unet_modules=[] updates nothing; name layers, or leave it out",
    ),
    (
        {"student": "lora", "lora.text_encoder_modules": ["q_proj"]},
        "lora.text_encoder_modules contradicts task=distill, which trains the UNet alone; leave it "
        "out",
    ),
    (
        {"data.batch_size": 1},
        "data.batch_size=1 leaves no example for distillation beside those of guided_share; raise "
        "the batch size, or lower guided_share, to 0 if guided sampling isn't needed",
    ),
    (
        {"data.batch_size": 4, "guided_share": 0.9},
        "data.batch_size=4 leaves no example for distillation beside those of guided_share; raise "
        "the batch size, or lower guided_share, to 0 if guided sampling isn't needed",
    ),
    ({"solver_steps": 0}, "solver_steps=0 must be greater than or equal to 1"),
    (
        {"solver_steps": 4},
        "max_steps=8 exceeds solver_steps=4, the steps that the student learns to skip; lower it",
    ),
    (
        {"sample.steps": 9},
        "sample.steps=9 exceeds max_steps=8, the most that the checkpoint offers; lower it",
    ),
    (
        {"data.crop_width": 64},
        "data.crop_width=64 crops pixels, but this task encodes whole images into latents; leave "
        "it out",
    ),
    ({"student": "half"}, "student='half' must be 'full' or 'lora'"),
    ({"loss": "l1"}, "loss='l1' must be 'huber' or 'l2'"),
]


@pytest.mark.parametrize(("changes", "line"), DISTILLATION_REFUSALS)
def test_a_distillation_that_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    assert refusal(tmp_path, "distill", changes) == line


@pytest.mark.parametrize(
    ("changes", "decay", "guided"),
    [
        ({}, 0.95, 4),
        ({"guided_share": 0, "target_decay": 0}, 0.0, 0),
        ({"guided_share": 0.01}, 0.95, 1),
        ({"student": "lora"}, 0.0, 0),
        ({"student": "lora", "target_decay": 0, "guided_share": 0}, 0.0, 0),
    ],
)
def test_defaults_of_a_distillation_depend_on_the_student(
    tmp_path: Path, changes: dict[str, Any], decay: float, guided: int
) -> None:
    config = load(tmp_path, "distill", changes)
    assert isinstance(config, sections.DistillationConfig)
    assert (config.decay, config.num_guided(16), config.is_guided) == (decay, guided, guided > 0)
    assert config.sample_guidance == 5.5
