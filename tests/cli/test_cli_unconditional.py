"""`riffusion unconditional` on small checkpoints with random weights."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from diffusers import DDPMScheduler

from riffusion.audio import read_audio, waveform_from_segment, write_audio
from riffusion.generation.unconditional import UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest
from riffusion.io.images import read_image
from tests.cli.conftest import Run
from tests.generation.unconditional_checkpoints import (
    CLIP_SAMPLES,
    HEIGHT,
    WIDTH,
    chirp,
    write_checkpoint,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("ddim") / "folder", gain=0.01)


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ddpm") / "folder"
    return write_checkpoint(place, scheduler=DDPMScheduler, is_conditional=True)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "audio.wav"
    write_audio(chirp(2 * CLIP_SAMPLES), path)
    return path


def samples(path: Path) -> np.ndarray:
    return waveform_from_segment(read_audio(path))


def test_clips_are_named_by_their_seeds(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    output, image = tmp_path / "out/a.wav", tmp_path / "out/a.png"
    result = run(
        "unconditional", checkpoint, "-o", output, "--image", image, "-n", 2, "--seed", 8,
        "--steps", 2, "--device", "cpu",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert f"checkpoint  {checkpoint} on cpu, clips of 0.74 s" in result.out
    generator = UnconditionalGenerator.open(str(checkpoint), "cpu")
    clips = list(generator.generate(UnconditionalRequest(count=2, seed=8, steps=2)))
    for clip in clips:
        path = tmp_path / f"out/a-{clip.seed}.wav"
        assert f"Wrote {path} (0.74 seconds)" in result.out
        assert np.abs(samples(path) - clip.audio.waveform).max() < 1e-4
        drawn = read_image(tmp_path / f"out/a-{clip.seed}.png")
        assert drawn.size == (WIDTH, HEIGHT)
        assert np.array_equal(np.asarray(drawn.convert("L")), np.asarray(clip.image))
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_random_seed_is_printed(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    result = run("unconditional", checkpoint, "-o", tmp_path / "a.wav", "--steps", 2)
    seed = re.search(r"seed +(\d+)", result.out)
    assert seed is not None
    again = run(
        "unconditional", checkpoint, "-o", tmp_path / "b.wav", "--steps", 2, "--seed", seed[1]
    )
    assert (result.code, again.code) == (0, 0)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_from_a_slice_with_masks(run: Run, checkpoint: Path, audio: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    result = run(
        "unconditional", checkpoint, "-o", tmp_path / "a.wav", "--image", image, "--steps", 2,
        "--seed", 1, "--from", audio, "--slice", 1, "--mask-start", 0.2, "--mask-end", 0.1,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    generator = UnconditionalGenerator.open(str(checkpoint), "cpu")
    own = np.asarray(generator.image_of(chirp(2 * CLIP_SAMPLES), 1), int)
    kept = (
        np.abs(np.asarray(read_image(image).convert("L"), int) - own).max(axis=0) <= 1
    )  # 16 bits in the file
    assert kept[:17].all()  # 0.2 s are 17.2 frames
    assert kept[-8:].all()
    assert not kept[17:-8].all()


def test_the_way_from_one_recording_to_another(
    run: Run, checkpoint: Path, audio: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.wav"
    write_audio(chirp(seed=5), other)
    result = run(
        "unconditional", checkpoint, "-o", tmp_path / "a.wav", "-n", 3, "--steps", 4,
        "--from", audio, "--to", other,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert {path.name for path in tmp_path.glob("a-*")} == {f"a-{index}.wav" for index in range(3)}
    ends = re.search(r"ends +([\d.]+) and ([\d.]+) of 255 grey levels", result.out)
    assert ends is not None
    assert max(float(end) for end in ends.groups()) < 5


def test_a_batch_goes_from_one_recording_to_another_without_a_seed(
    run: Run, checkpoint: Path, audio: Path, tmp_path: Path
) -> None:
    job = {"command": "unconditional", "checkpoint": str(checkpoint), "steps": 2, "count": 2}
    job |= {"from": str(audio), "to": str(audio)}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(job))
    result = run("batch", tmp_path / "jobs.jsonl", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert len(list((tmp_path / "out").glob("*-[01].mp3"))) == 2


def test_a_clip_without_a_beat_is_written_with_a_warning(
    run: Run, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = run("unconditional", checkpoint, "-o", tmp_path / "a.wav", "--steps", 2, "--loop", 4)
    assert result.code == 0
    assert "without a loop: a recording of 0.74 s is too short" in caplog.text
    assert samples(tmp_path / "a.wav").shape[1] == CLIP_SAMPLES


def test_encodings_come_from_a_file(run: Run, ddpm: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.ones((2, 8), np.float32))
    np.save(tmp_path / "wrong.npy", np.ones((2, 7), np.float32))
    np.save(tmp_path / "object.npy", np.array([{"a": 1}]), allow_pickle=True)
    common = ("unconditional", ddpm, "-o", tmp_path / "a.wav", "--steps", 2)
    assert run(*common, "--encoding", tmp_path / "e.npy").code == 0
    for arguments, message in [
        ((), "--encoding: the checkpoint needs an encoding, (1, tokens, 8)"),
        (("--encoding", tmp_path / "wrong.npy"), "--encoding: shape (1, 2, 7) must be"),
        (("--encoding", tmp_path / "object.npy"), "is not a .npy file of numbers"),
        (("--encoding", tmp_path / "none.npy"), "does not exist"),
    ]:
        result = run(*common, *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert message in result.err


REFUSED = {
    "-n 0": "--count: 0 must be from 1 to 10000",
    "-n 10001": "--count: 10001 must be from 1",
    "--seed -1": "--seed: -1 must be from 0",
    "--steps 0": "--steps: 0 must be from 1 to 1000",
    "--steps 1001": "--steps: 1001 must be from 1 to 1000",
    "--scheduler pndm": "--scheduler: 'pndm' must be ddpm or ddim",
    "--eta 1.5": "--eta: 1.5 must be from 0 to 1",
    "--eta nan": "--eta: nan must be from 0 to 1",
    "--scheduler ddpm --eta 0.5": "--eta: 0.5 needs DDIM",
    "--start-step 3": "--start-step: 3 needs audio to start from",
    "--mask-start 0.1": "--mask-start: 0.1 needs audio to start from",
    "--slice 1": "--slice: 1 needs audio to start from",
    "--from {}/audio.wav --steps 10 --start-step 10": "--start-step: 10 must be from 0 to 9",
    "--from {}/audio.wav --start-step -1": "--start-step: -1 must be from 0 to 49",
    "--from {}/audio.wav --mask-start 0.75": "--mask-start: 0.75 must be at least 0 s and shorter",
    "--from {}/audio.wav --mask-end -1": "--mask-end: -1 must be at least 0 s",
    "--from {}/audio.wav --mask-end inf": "--mask-end: inf must be at least 0 s",
    "--from {}/audio.wav --mask-start 0.4 --mask-end 0.4": "keep the whole clip of 0.74 s",
    "--from {}/audio.wav --slice 2": "--slice: 2 must be from 0 to 1",
    "--from {}/short.wav": "--from: the audio of 0.50 s is shorter than a clip of 0.74 s",
    "--from {}/none.wav": "none.wav",
    "--from {}/text.wav": "text.wav",
    "--to {}/audio.wav": "--to: needs --from",
    "--from {}/audio.wav --to {}/audio.wav --eta 0.5": "--to: does not go with --eta",
    "--from {}/audio.wav --to {}/audio.wav -n 2 --seed 0": "--to: does not go with --seed",
    "--from {}/audio.wav --to {}/audio.wav -n 2 --eta 0": "--to: does not go with --eta",
    "--from {}/audio.wav --to {}/audio.wav -n 2 --start-step 0": "does not go with --start-step",
    "--from {}/audio.wav --to {}/audio.wav -n 2 --mask-end 0.1": "does not go with --mask-end",
    "--from {}/audio.wav --to {}/audio.wav": "--count: 1 must be from 2 to 10000",
    "--from {}/audio.wav --to {}/audio.wav -n 10001": "--count: 10001 must be from 2",
    "--from {}/audio.wav --to {}/short.wav -n 2": "--to: the audio of 0.50 s is shorter",
    "--loop -1": "--loop: -1 must be from 0 to 1000",
    "--encoding {}/audio.wav": "is not a .npy file of numbers",
    "--device quantum": "'quantum' is not a device",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_impossible_requests_are_refused_before_the_weights_are_read(
    arguments: str,
    run: Run,
    checkpoint: Path,
    audio: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_now(*_: object) -> None:
        raise AssertionError("the weights were read")

    monkeypatch.setattr("riffusion.checkpoint.unconditional.read_weights", not_now)
    write_audio(chirp(11025), tmp_path / "short.wav")
    (tmp_path / "text.wav").write_text("a letter, not a song")
    given = arguments.replace("{}", str(tmp_path)).split()
    result = run("unconditional", checkpoint, "-o", tmp_path / "out.wav", *given)
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert REFUSED[arguments] in result.err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}/nowhere", "does not exist; give a diffusers folder"),
        ("{}/audio.wav", "must end in .safetensors or .ckpt, or be a diffusers folder"),
        ("{}", "has no model_index.json; name the folder of an unconditional checkpoint"),
        ("data/demo-checkpoint", "has a text encoder; use `riffusion generate`"),
    ],
)
def test_what_isn_t_such_a_checkpoint_is_refused(
    name: str, message: str, run: Run, audio: Path, tmp_path: Path
) -> None:
    if "{}" not in name:
        name = str(Path(__file__).parents[2] / name)
    result = run("unconditional", name.replace("{}", str(audio.parent)), "-o", tmp_path / "out.wav")
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert message in result.err
