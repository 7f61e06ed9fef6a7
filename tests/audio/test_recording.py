"""Recordings in a temporary file: the samples of `decode_audio`, in bounded memory."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from riffusion.audio import (
    MEDIA_TYPES,
    Audio,
    AudioWriter,
    Recording,
    decode_audio,
    encode_audio,
    sample_file,
    segment_from_waveform,
    waveform_from_segment,
)
from riffusion.audio.segments import samples_from_segment
from riffusion.errors import InputError, MediaError
from tests.audio.audio_signals import chord, noise
from tests.audio.hand_made_files import aifc, caf, containers, mov, tones, wav
from tests.patience import PATIENCE_S

PACKAGES = Path(__file__).parents[2] / "packages"
RATE = 32_000
MAX_RATIO = 1.3
"""Memory for ten minutes compared with memory for one."""


def written(format: str, subtype: str, count: int = 2, rate: int = 44_100) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(count, rate).T, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def flac_in_ogg(bits: int) -> bytes:
    samples = np.rint(tones(2, 44_100) * 2.0 ** (bits - 1)).astype(np.int32) << (32 - bits)
    name = "s32" if bits == 24 else "s16"
    if bits == 16:
        samples = (samples >> 16).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as output:
        stream = output.add_stream("flac", rate=44_100, layout="stereo", format=name)
        stream.open()
        size = stream.codec_context.frame_size
        for start in range(0, samples.shape[1], size):
            packed = np.ascontiguousarray(samples[:, start : start + size].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, name, "stereo")
            frame.sample_rate, frame.pts = 44_100, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def encoded(format: str) -> bytes:
    signal_ = chord(30_000, 44_100, 2)
    return encode_audio(segment_from_waveform(signal_, 44_100), format)  # type: ignore[arg-type]


def padded(valid: int, order: str = "<") -> bytes:
    return containers(tones(2, 44_100), 4, valid, order)


FILES: dict[str, tuple[Callable[[], bytes], int]] = {
    **{f"{name} by the project": (lambda name=name: encoded(name), 16) for name in MEDIA_TYPES},
    "wav of 8 bits": (lambda: written("WAV", "PCM_U8"), 16),
    "wav of 16 bits": (lambda: written("WAV", "PCM_16"), 16),
    "wav of 24 bits": (lambda: written("WAV", "PCM_24"), 24),
    "wav of 32 bits": (lambda: written("WAV", "PCM_32"), 32),
    "wav of floats": (lambda: written("WAV", "FLOAT"), 32),
    "wav in mono": (lambda: written("WAV", "PCM_24", 1, 96_000), 24),
    "rf64": (lambda: written("RF64", "PCM_24"), 24),
    "flac of 24 bits": (lambda: written("FLAC", "PCM_24"), 24),
    "aiff of 24 bits": (lambda: written("AIFF", "PCM_24"), 24),
    "alac": (lambda: written("CAF", "ALAC_24"), 24),
    "vorbis": (lambda: written("OGG", "VORBIS"), 16),
    "mp3 by libsndfile": (lambda: written("MP3", "MPEG_LAYER_III"), 16),
    "24 bits in 32": (lambda: wav(padded(24), 44_100, 2, 4, 32, valid=24), 24),
    "12 bits in 16": (
        lambda: wav(containers(tones(2, 44_100), 2, 12, "<"), 44_100, 2, 2, 12),
        16,
    ),
    "big-endian wav": (
        lambda: wav(containers(tones(2, 44_100), 3, 24, ">"), 44_100, 2, 3, 24, order=">"),
        24,
    ),
    "Cool Edit's floats": (
        lambda: wav((tones(2, 44_100).T * 2.0**15).astype("<f4").tobytes(), 44_100, 2, 4, 16),
        32,
    ),
    "core audio": (lambda: caf(padded(20, ">"), 44_100, 2, 4, 20, 0), 24),
    "quicktime": (lambda: mov(padded(24), 44_100, 2, 4, 24, 4 | 16), 32),
    "little-endian aiff": (
        lambda: aifc(containers(tones(2, 44_100), 3, 24, "<"), 44_100, 2, 24, b"sowt", b""),
        24,
    ),
    "A-law": (lambda: written("WAV", "ALAW", 1, 8_000), 16),
    "chain of vorbis": (lambda: written("OGG", "VORBIS") * 3, 16),
    "chain of codecs": (lambda: written("OGG", "VORBIS", 2, 48_000) + encoded("ogg"), 16),
    "chain of widths": (lambda: flac_in_ogg(16) + flac_in_ogg(24) + flac_in_ogg(16), 24),
    "damaged mp3": (lambda: encoded("mp3")[:4_000] + bytes(900) + encoded("mp3")[4_900:], 16),
    "truncated flac": (lambda: written("FLAC", "PCM_16")[:-3_000], 16),
    "floats beyond full scale": (
        lambda: wav((4 * tones(2, 44_100).T).astype("<f4").tobytes(), 44_100, 2, 4, 32, tag=3),
        32,
    ),
    "two other speakers": (
        lambda: wav(padded(32), 44_100, 2, 4, 32, valid=32, mask=0x4 | 0x1),
        32,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_samples_and_warnings_are_those_of_decode_audio(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, bits = FILES[name]
    data = make()
    segment = decode_audio(data)
    warned = [record.getMessage() for record in caplog.records]
    caplog.clear()
    path = tmp_path / "song"
    path.write_bytes(data)
    expected = samples_from_segment(segment)
    for source in (data, path, str(path)):
        with Recording.open(source) as recording:
            samples = recording.samples(0, recording.num_samples)
            assert samples.dtype == expected.dtype
            assert np.array_equal(samples, expected)
            assert recording.sample_rate == segment.frame_rate
            assert recording.num_channels == segment.channels
            assert recording.sample_width == segment.sample_width
            assert recording.bits == bits
            assert recording.duration_s == expected.shape[1] / segment.frame_rate
    assert [record.getMessage() for record in caplog.records] == warned * 3
    assert warned or not any(word in name for word in ("damaged", "beyond"))


def test_any_range_and_block_size_gives_the_same_samples() -> None:
    data = written("FLAC", "PCM_24")
    segment = decode_audio(data)
    expected, floats = samples_from_segment(segment), waveform_from_segment(segment)
    length = expected.shape[1]
    with Recording.open(data) as recording:
        for start, stop in ((0, 0), (0, 1), (777, 4_000), (length - 1, length), (length, length)):
            assert np.array_equal(recording.samples(start, stop), expected[:, start:stop])
            assert np.array_equal(recording.waveform(start, stop), floats[:, start:stop])
        for size in (1_000, length, 10 * length):
            blocks = list(recording.blocks(size))
            assert all(block.shape[1] == min(size, length) for block in blocks[:-1])
            assert np.array_equal(np.concatenate(blocks, axis=1), expected)
        for start, stop in ((-1, 5), (5, 4), (0, length + 1)):
            with pytest.raises(InputError, match=f"start={start}, stop={stop} is outside the rec"):
                recording.samples(start, stop)
        with pytest.raises(InputError, match="size=0 must be at least 1"):
            next(recording.blocks(0))


def test_threads_may_read_at_the_same_time() -> None:
    data = written("WAV", "PCM_16")
    expected = samples_from_segment(decode_audio(data))
    wrong: list[int] = []
    with Recording.open(data) as recording:

        def read(start: int) -> None:
            for stop in range(start + 1, start + 500):
                if not np.array_equal(recording.samples(start, stop), expected[:, start:stop]):
                    wrong.append(start)

        threads = [threading.Thread(target=read, args=(100 * i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.parametrize("count", [3, 4, 6, 7])
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_more_than_two_channels_are_refused(format: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "many.audio"
    path.write_bytes(written(format, "PCM_16", count))
    message = f"path='{path}': the file has {count} channels; at most 2 .*mix it to stereo first"
    with pytest.raises(MediaError, match=message):
        Recording.open(path)


@pytest.mark.parametrize("name", ["wav of 16 bits", "mp3 by the project", "24 bits in 32"])
def test_limits_are_those_of_decode_audio(name: str) -> None:
    data = FILES[name][0]()
    for limits in ({"max_duration_s": 0.1}, {"max_samples": 5_000}, {"max_bytes": 1_000}):
        with pytest.raises(MediaError) as expected:
            decode_audio(data, **limits)  # type: ignore[arg-type]
        with pytest.raises(MediaError) as refused:
            Recording.open(data, **limits)  # type: ignore[arg-type]
        assert str(refused.value) == str(expected.value)


@pytest.mark.parametrize("data", [b"", b"this is a letter, not a song\n" * 50])
def test_files_without_audio_are_refused_as_by_decode_audio(data: bytes) -> None:
    with pytest.raises(MediaError) as expected:
        decode_audio(data)
    with pytest.raises(MediaError) as refused:
        Recording.open(data)
    assert str(refused.value) == str(expected.value)


def run(program: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(PACKAGES), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


PEAK_MEMORY = """
import sys
from pathlib import Path
from riffusion.audio import Recording
with Recording.open(sys.argv[1]) as recording:
    for block in recording.blocks(2**16):
        pass
assert "torch" not in sys.modules
status = Path("/proc/self/status").read_text()  # ru_maxrss also has the parent's peak
(peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
print(recording.num_samples, peak)
"""


def minutes_of(name: str, minutes: int, path: Path) -> None:
    """Write a recording of some minutes that are all the same."""
    minute = 60 * RATE
    count = 1 if name == "a.mp3" else 2  # slow to encode
    audio = Audio(chord(minute, RATE, count) + noise(minute, count, rms=0.02), RATE)
    if name == "padded.wav":
        data = containers(audio.waveform, 4, 24, "<")
        head = wav(data, RATE, 2, 4, 32, valid=24)[: -len(data)]
        size = minutes * len(data)
        with path.open("wb") as file:  # the header's size of the file isn't read
            file.write(head[:-4] + size.to_bytes(4, "little"))
            for _ in range(minutes):
                file.write(data)
    elif name == "chain.ogg":
        path.write_bytes(encode_audio(audio, "ogg") * minutes)
    else:
        with AudioWriter(path, audio) as writer:
            for _ in range(minutes):
                writer.write(audio)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "chain.ogg", "padded.wav"])
def test_ten_minutes_take_as_much_memory_as_one(name: str, tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}-{name}"
        minutes_of(name, minutes, path)
        done = run(PEAK_MEMORY, path, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        length, peak = map(int, done.stdout.split())
        assert length == 60 * minutes * (48_000 if name == "chain.ogg" else RATE)
        peaks.append(peak)
    assert peaks[1] <= MAX_RATIO * peaks[0], peaks


def test_the_temporary_file_has_no_name_and_goes_with_the_block(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(written("WAV", "PCM_16"))
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = """
import os, sys
from pathlib import Path
from riffusion.audio import Recording
folder = Path(sys.argv[2])
def held():
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.startswith(str(folder)) for link in links)
with Recording.open(sys.argv[1]) as recording:
    print(held(), list(folder.iterdir()))
print(held())
try:
    Recording.open(sys.executable)
except ValueError:
    print(held())
"""
    done = run(program, path, folder, folder=folder)
    assert done.stdout.splitlines() == ["1 []", "0", "0"], done.stderr


def test_a_killed_process_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(written("WAV", "PCM_16"))
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = """
import os, signal, sys
from riffusion.audio import Recording
with Recording.open(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run(program, path, folder=folder)
    assert done.returncode == -signal.SIGKILL
    assert list(folder.iterdir()) == []


FULL_DISK = """
import resource, sys
from riffusion.audio import Recording
from riffusion.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    Recording.open(sys.argv[1])
except InputError as error:
    print(error)
"""
"""No file of this process grows beyond 20,000 bytes."""


@pytest.mark.parametrize("name", ["wav of 16 bits", "mp3 by the project", "24 bits in 32"])
def test_a_full_disk_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "song"
    path.write_bytes(FILES[name][0]())
    done = run(FULL_DISK, path, folder=tmp_path)
    assert done.stdout == (
        f"the recording doesn't fit into the folder for temporary files, '{tmp_path}' (File too "
        "large); make room there, or name another folder in the environment variable TMPDIR\n"
    ), done.stderr


@pytest.mark.parametrize("named", [True, False])
def test_the_folder_is_the_named_one_or_one_for_large_files(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sample_file, "_LARGE_FILES", tmp_path)
    monkeypatch.setattr(sample_file.tempfile, "tempdir", str(tmp_path / "named"))
    if named:
        monkeypatch.setenv("TMPDIR", str(tmp_path / "named"))
    assert sample_file._temporary_folder() == str(tmp_path / "named" if named else tmp_path)
    monkeypatch.setattr(sample_file, "_LARGE_FILES", tmp_path / "nowhere")
    assert sample_file._temporary_folder() == str(tmp_path / "named")


def test_a_forgotten_recording_is_deleted() -> None:
    recording = Recording.from_blocks([np.zeros((1, 10), np.int16)], 8000, 16)
    file = recording._file._file
    assert not file.closed
    del recording
    assert file.closed
