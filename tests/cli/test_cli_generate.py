"""generate and interpolate with the embedded checkpoint, few steps and short clips."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from riffusion.audio import num_samples, read_audio
from riffusion.cli.clip_requests import InitOptions, build_request, check_ids
from riffusion.errors import InputError
from riffusion.generation.image_audio import ImageAudio
from riffusion.generation.media import Media
from riffusion.io.images import read_image
from riffusion.spectrogram.params import SpectrogramParams
from tests.cli.conftest import Run, WriteRecording


def test_generate_from_text(tmp_path: Path, run: Run) -> None:
    result = run(
        "generate", "church bells", "-o", tmp_path / "new/bells.wav",
        "--image", tmp_path / "bells.png", "--seed", 7, "--count", 2, "--steps", 2,
        "--duration", 0.64, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    for seed in (7, 8):
        segment = read_audio(tmp_path / f"new/bells-{seed}.wav")
        assert num_samples(segment) == 64 * 441
        image = read_image(tmp_path / f"bells-{seed}.png")
        assert image.size == (64, 512)
        assert SpectrogramParams.from_exif(image.getexif()) == SpectrogramParams()
    first, second = (np.asarray(read_image(tmp_path / f"bells-{seed}.png")) for seed in (7, 8))
    assert not np.array_equal(first, second)
    assert re.search(r"checkpoint +demo-checkpoint \(embedded\) on cpu", result.out)
    assert re.search(r"seed +7\n", result.out)
    assert re.search(r"diffusion +[\d.]+ s  \(2 steps\)\n", result.out)
    assert re.search(r"audio +[\d.]+ s\n", result.out)
    assert re.search(r"clip +0\.64 s in [\d.]+ s: [\d.]+× real time\n", result.out)
    assert f"Wrote {tmp_path / 'bells-8.png'}" in result.out


def test_generate_with_the_layout_of_another_text(tmp_path: Path, run: Run) -> None:
    images = []
    for name, options in (("half", ()), ("less", ("--mix-share", 0.9, "--mix-to", 0.8))):
        result = run(
            "generate", "church bells", "-o", tmp_path / f"{name}.wav", "--image",
            tmp_path / f"{name}.png", "--seed", 7, "--steps", 4, "--duration", 0.64,
            "--magic-mix", "drums", *options,
        )  # fmt: skip
        assert result.code == 0, result.err
        assert num_samples(read_audio(tmp_path / f"{name}.wav")) == 64 * 441
        images.append(np.asarray(read_image(tmp_path / f"{name}.png"), np.float64))
    assert np.abs(images[0] - images[1]).mean() > 1


def test_generate_from_audio_with_a_printed_seed(
    tmp_path: Path, write_recording: WriteRecording, run: Run
) -> None:
    song = write_recording("song.mp3", duration_s=0.64)
    arguments = (
        "generate", "a (slow:1.2) choir", "--init-audio", song, "--steps", 4,
        "--denoising", 0.25, "--negative-prompt", "drums", "--scheduler", "ddim", "--device", "cpu",
    )  # fmt: skip
    drawn = run(*arguments, "-o", tmp_path / "a.wav")
    assert drawn.code == 0, drawn.err
    found = re.search(r"seed +(\d+)", drawn.out)
    assert found is not None
    again = run(*arguments, "-o", tmp_path / "b.wav", "--seed", found[1])
    assert again.code == 0, again.err
    assert "(1 steps)" in again.out
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_unknown_seed_image_names_the_option(tmp_path: Path, run: Run) -> None:
    result = run("generate", "x", "-o", tmp_path / "a.wav", "--seed-image", "polka", "--steps", 1)
    assert result.code == 2
    assert result.err.startswith("error: --seed-image: 'polka' is unknown; use one of: agile")


def test_interpolate(tmp_path: Path, run: Run) -> None:
    image = tmp_path / "init.png"
    Image.effect_noise((64, 512), 60).save(image)
    result = run(
        "interpolate", "piano", "drums", "-o", tmp_path / "piece.wav", "--steps-between", 3,
        "--seed", 1, "--end-seed", 2, "--init-image", image, "--images-dir", tmp_path / "p",
        "--steps", 2, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert num_samples(read_audio(tmp_path / "piece.wav")) == 3 * 64 * 441
    names = [
        f"clip_{i:03}_alpha_{alpha}.png" for i, alpha in enumerate(("0.000", "0.500", "1.000"))
    ]
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == names
    images = [np.asarray(read_image(tmp_path / "p" / name)) for name in names]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_interpolate_decodes_and_draws_its_audio_once(
    tmp_path: Path, write_recording: WriteRecording, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = write_recording("song.wav", duration_s=0.64)
    calls: list[str] = []

    def counted(module: object, name: str) -> None:
        original = getattr(module, name)

        def call(*arguments: object, **options: object) -> object:
            if "w" not in arguments:  # the piece is written with `av.open`, too
                calls.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    counted(av, "open")  # every decoder goes through it
    counted(ImageAudio, "image_from_audio")
    result = run(
        "interpolate", "piano", "drums", "-o", tmp_path / "piece.wav", "--steps-between", 4,
        "--seed", 1, "--init-audio", song, "--steps", 2, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert calls == ["open", "image_from_audio"]
    monkeypatch.undo()
    assert read_audio(tmp_path / "piece.wav").duration_seconds == pytest.approx(4 * 0.64, abs=0.05)


def test_crossfade_longer_than_a_clip_is_refused_before_one_is_made(
    tmp_path: Path, run: Run
) -> None:
    image = tmp_path / "init.png"
    Image.new("RGB", (64, 512)).save(image)
    result = run(
        "interpolate", "piano", "drums", "-o", tmp_path / "piece.wav", "--init-image", image,
        "--crossfade", 0.65, "--steps", 2, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 2
    assert result.err == "error: --crossfade: 0.65 is longer than a clip of 0.64 s; shorten it\n"
    assert "alpha" not in result.out


def test_ids_become_fields_and_files_become_media(
    tmp_path: Path, write_recording: WriteRecording
) -> None:
    ids = InitOptions(seed_image="og_beat", mask_image="mask_top_third_75")
    assert ids.fields() == {
        "mode": "img2img", "seed_image_id": "og_beat", "mask_image_id": "mask_top_third_75"
    }  # fmt: skip
    assert ids.media() == Media()
    for name in ("a.png", "b.bmp"):
        Image.effect_noise((64, 512), 60).save(tmp_path / name)
    files = InitOptions(seed_image=str(tmp_path / "a.png"), mask_image=str(tmp_path / "b.bmp"))
    assert files.fields() == {"mode": "img2img"}
    media = files.media()
    for image, name in ((media.init_image, "a.png"), (media.mask_image, "b.bmp")):
        assert np.array_equal(np.asarray(image), np.asarray(read_image(tmp_path / name)))
    song = write_recording("song.wav", duration_s=0.1)
    assert InitOptions(init_audio=song).media().init_audio == read_audio(song)


def test_a_checkpoint_may_bring_its_own_seed_images(tmp_path: Path) -> None:
    request = build_request(
        {"start": {"prompt": "x", "seed": 1}, "seed_image_id": "polka", "mode": "img2img"}
    )
    (tmp_path / "seed_images").mkdir()
    Image.new("RGB", (64, 512)).save(tmp_path / "seed_images/polka.png")
    weights = tmp_path / "model.safetensors"
    weights.touch()
    for checkpoint in (tmp_path, weights, "somebody/on-the-hub"):
        check_ids(request, str(checkpoint))
    with pytest.raises(InputError, match="^seed_image_id: 'polka' is unknown"):
        check_ids(request, str(tmp_path / "seed_images"))
