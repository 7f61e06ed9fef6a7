"""Decoding in processes of their own: the same results, and no file harms more than its process."""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile

from riffusion.audio import (
    MEDIA_TYPES,
    Recording,
    decode_audio,
    encode_audio,
    segment_from_waveform,
)
from riffusion.audio.decoding_pool import DecodingPool
from riffusion.errors import MediaError, OverloadedError, ServerError
from tests.audio.audio_signals import chord, noise
from tests.audio.hand_made_files import containers, tones, wav
from tests.audio.hostile_audio import empty_frames, silent_flac
from tests.audio.tones_in_containers import OPENED, REFUSED, tone_in
from tests.patience import PATIENCE_S, wait_until

RATE = 44_100


def new_pool(max_processes: int = 1, time_limit_s: float = PATIENCE_S, **limits) -> DecodingPool:
    """A pool whose limits of time don't depend on how busy the machine is."""
    return DecodingPool(max_processes, time_limit_s, max_wait_s=PATIENCE_S, **limits)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    pool = new_pool()
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def mp3() -> bytes:
    return encode_audio(segment_from_waveform(chord(RATE, RATE, 2), RATE), "mp3")


def float_wav(peak: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, chord(9000, RATE, 2, peak).T, RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    segment = segment_from_waveform(noise(30_000, 2), RATE)
    encoded = {format: encode_audio(segment, format) for format in MEDIA_TYPES}
    return {
        **encoded,
        **{f"{container} {codec}": tone_in(container, codec) for container, codec in OPENED},
        **{f"{container} {codec}": tone_in(container, codec) for container, codec in REFUSED},
        "chained ogg": encoded["ogg"] * 3,
        "truncated flac": encoded["flac"][:-3000],
        "truncated mp3": encoded["mp3"][: len(encoded["mp3"]) // 2],
        "damaged ogg": encoded["ogg"][:4000] + bytes(500) + encoded["ogg"][4500:],
        "hot floats": float_wav(8.0),
        "20 bits big-endian": wav(
            containers(tones(2, RATE), 3, 20, ">"), RATE, 2, 3, 24, valid=20, order=">"
        ),
        "64 bits": wav(containers(tones(1, RATE), 8, 64, "<"), RATE, 1, 8, 64),
        "speakers": wav(containers(tones(3, RATE), 2, 16, "<"), RATE, 3, 2, 16, valid=16, mask=11),
        "a rate too low": wav(bytes(8000), 500, 1, 2, 16),
        "empty": b"",
        "text": b"hello, world" * 1000,
        "playlist": b"#EXTM3U\nfile:///etc/passwd\n",
        "too long": encode_audio(segment_from_waveform(noise(8000 * 12), 8000), "mp3"),
    }


def test_every_file_gives_the_same_audio_warnings_and_errors(
    pool: DecodingPool, caplog: pytest.LogCaptureFixture
) -> None:
    def outcome(decode, data: bytes) -> object:
        caplog.clear()
        try:
            result = decode(data, max_duration_s=10)
            result = (result.raw_data, result.sample_width, result.frame_rate, result.channels)
        except MediaError as error:
            result = str(error)
        return result, [(log.name, log.levelno, log.getMessage()) for log in caplog.records]

    num_warnings = 0
    for name, data in files().items():
        expected = outcome(decode_audio, data)
        assert outcome(pool.decode, data) == expected, name
        num_warnings += len(expected[1])
    assert num_warnings >= 2  # of the damaged and the hot file
    assert len(pool.pids) == 1


def test_every_file_gives_the_same_recording_and_errors(pool: DecodingPool) -> None:
    def outcome(opener: Callable[..., Recording], data: bytes) -> object:
        try:
            with opener(data, max_duration_s=10) as recording:
                samples = recording.samples(0, recording.num_samples)
                kind = (recording.sample_rate, recording.bits, recording.sample_width)
                return samples.tobytes(), kind
        except MediaError as error:
            return str(error)

    found_bits = set()
    for name, data in files().items():
        expected = outcome(Recording.open, data)
        assert outcome(pool.open_recording, data) == expected, name
        if isinstance(expected, tuple):
            found_bits.add(expected[1][1])
    assert found_bits == {16, 24, 32}


def test_warnings_belong_to_their_file(
    pool: DecodingPool, mp3: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    pool.decode(float_wav(2.0))
    assert "float samples up to 2" in caplog.text or "float samples up to 1.9" in caplog.text
    caplog.clear()
    pool.decode(mp3)
    assert not caplog.records


def test_a_file_that_takes_too_long_is_refused_and_the_next_one_is_read(mp3: bytes) -> None:
    hanging = new_pool(time_limit_s=0.1)
    hanging.start()
    before = hanging.pids
    with pytest.raises(MediaError, match=r"longer than 0\.1 s, the limit; convert it to wav"):
        hanging.decode(empty_frames())
    assert not set(before) & set(hanging.pids)
    hanging._time_limit_s = PATIENCE_S
    assert hanging.decode(mp3) == decode_audio(mp3)
    hanging.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("kind", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_decoder_that_dies_fails_its_file_alone(kind: str, mp3: bytes) -> None:
    pool = new_pool()
    pool.start()
    [pid] = pool.pids
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor() as threads:
        failing = threads.submit(pool.decode, mp3)
        wait_until(lambda: not pool._idle, "the file was not given to the process")
        following = threads.submit(pool.decode, mp3)
        os.kill(pid, getattr(signal, kind))
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(MediaError, match=rf"ended while it read the file \({kind}\).*convert"):
            failing.result(PATIENCE_S)
        assert following.result(PATIENCE_S) == decode_audio(mp3)
    assert pid not in pool.pids
    pool.close()


def test_a_process_that_died_between_two_files_fails_none(mp3: bytes) -> None:
    pool = new_pool()
    pool.start()
    for _ in range(3):
        [process] = pool._idle
        process._process.kill()
        process._process.wait()
        assert pool.decode(mp3) == decode_audio(mp3)
        assert [process.pid] != pool.pids
    pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits memory")
@pytest.mark.parametrize(("rate", "layout"), [(192_000, "7.1"), (384_000, "5.1")])
def test_a_small_file_that_needs_much_memory_is_refused(rate: int, layout: str, mp3: bytes) -> None:
    file = silent_flac(25, rate, layout)
    assert len(file) < 30_000
    pool = new_pool(max_memory=300 * 2**20)
    with pytest.raises(MediaError, match=r"takes more than 300 MiB of memory, the limit; convert"):
        pool.decode(file, max_duration_s=60)
    assert peak_memory(pool.pids[0]) < 300 * 2**20
    assert pool.decode(mp3) == decode_audio(mp3)
    pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_largest_file_fits_into_the_memory_and_no_larger_one_is_decoded(
    pool: DecodingPool,
) -> None:
    rate, num_channels = 192_000, 8
    longest_s = 2**26 // num_channels / rate
    segment = pool.decode(silent_flac(longest_s - 0.5, rate, "7.1"), max_duration_s=60)
    assert segment.frame_count() > (longest_s - 0.5) * rate
    with pytest.raises(MediaError, match=r"longer than 43\.69\d* s, the limit for 8 channels"):
        pool.decode(silent_flac(longest_s + 0.5, rate, "7.1"), max_duration_s=60)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_can_open_no_file_and_no_connection(pool: DecodingPool) -> None:
    pool.start()
    limits = Path(f"/proc/{pool.pids[0]}/limits").read_text().splitlines()
    [line] = [line for line in limits if line.startswith("Max open files")]
    assert line.split()[3:5] == ["0", "0"]
    descriptors = {path.readlink() for path in Path(f"/proc/{pool.pids[0]}/fd").iterdir()}
    assert not [target for target in descriptors if target.name.startswith("socket:")]


def test_one_hostile_file_keeps_no_others_waiting(mp3: bytes) -> None:
    pool = new_pool(max_processes=2)
    with ThreadPoolExecutor(20) as threads:
        hostile = threads.submit(pool.decode, empty_frames())
        wait_until(lambda: pool.pids and not pool._idle, "the hostile file isn't being decoded")
        ordinary = [threads.submit(pool.decode, mp3) for _ in range(40)]
        expected = decode_audio(mp3)
        assert all(result.result(PATIENCE_S) == expected for result in ordinary)
        assert not hostile.done()
        assert len(pool.pids) == 2
        pool.close()
        with pytest.raises(ServerError, match="closed"):
            hostile.result(PATIENCE_S)


def test_files_that_wait_too_long_are_refused_as_overload(mp3: bytes) -> None:
    pool = DecodingPool(max_processes=1, time_limit_s=PATIENCE_S, max_wait_s=0.05)
    with ThreadPoolExecutor() as threads:
        hostile = threads.submit(pool.decode, empty_frames())
        wait_until(lambda: pool.pids and not pool._idle, "the hostile file isn't being decoded")
        with pytest.raises(OverloadedError, match="1 requests are waiting"):
            pool.decode(mp3)
        pool.close()
        with pytest.raises(ServerError, match="closed"):
            hostile.result(PATIENCE_S)


def test_closing_ends_every_process_and_later_files_fail(mp3: bytes) -> None:
    pool = new_pool(max_processes=3)
    barrier = threading.Barrier(3)

    def decode() -> None:
        barrier.wait(PATIENCE_S)
        pool.decode(mp3)

    with ThreadPoolExecutor(3) as threads:
        for result in [threads.submit(decode) for _ in range(3)]:
            result.result(PATIENCE_S)
    processes = list(pool._all)
    pool.close()
    assert processes
    assert not any(process.is_alive for process in processes)
    with pytest.raises(ServerError, match="closed"):
        pool.decode(mp3)


def peak_memory(pid: int) -> int:
    """In bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(pid)
