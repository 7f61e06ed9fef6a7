"""What it costs to decode audio in another process, and what one hostile file costs the others.

    python -m benchmarks.audio_decoding

Prints medians of the wall time, and means of the processor time, for mp3s of noise in stereo at
44.1 kHz, in this process and in a `DecodingPool`. Then the same for a clip beside a file that takes
half a minute or more to decode.
"""

import statistics
import threading
import time
from collections.abc import Callable

import numpy as np
import psutil

from riffusion.audio import Audio, decode_audio, encode_audio
from riffusion.audio.decoding_pool import DecodingPool
from riffusion.errors import MediaError

NUM_RUNS = 50
RATE_HZ = 44_100


def mp3(duration_s: float) -> bytes:
    """Noise, stereo."""
    samples = np.random.default_rng(0).standard_normal((2, round(duration_s * RATE_HZ)))
    return encode_audio(Audio((0.1 * samples).astype(np.float32), RATE_HZ), "mp3")


def processor_ms(pids: list[int]) -> float:
    """Processor time so far of this process and others, in milliseconds."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return 1e3 * (time.process_time() + sum(float(each.user + each.system) for each in times))


def compare(data: bytes, pool: DecodingPool) -> str:
    """Decode here and in the pool, in turn, so that both meet the same load of the machine."""
    ways: dict[str, Callable[[bytes], object]] = {"here": decode_audio, "there": pool.decode}
    walls_ms: dict[str, list[float]] = {way: [] for way in ways}
    spent_ms = dict.fromkeys(ways, 0.0)
    for _ in range(NUM_RUNS):
        for way, decode in ways.items():
            started_ms, before_ms = 1e3 * time.perf_counter(), processor_ms(pool.pids)
            decode(data)
            walls_ms[way].append(1e3 * time.perf_counter() - started_ms)
            spent_ms[way] += (processor_ms(pool.pids) - before_ms) / NUM_RUNS
    wall_ms = {way: statistics.median(times) for way, times in walls_ms.items()}
    return ", ".join(
        f"{way} {wall_ms[way]:.1f} ms (processor {spent_ms[way]:.1f} ms)" for way in ways
    )


def main() -> None:
    """Measure, and print one line for each measurement."""
    pool = DecodingPool()
    started_s = time.perf_counter()
    pool.start()
    print(f"start of a process: {1e3 * (time.perf_counter() - started_s):.0f} ms")
    for duration_s in (0.5, 5.0, 59.0):
        print(f"mp3 of {duration_s:g} s: {compare(mp3(duration_s), pool)}")
    memory_mb = psutil.Process(pool.pids[0]).memory_info().rss / 1e6
    print(f"memory of the process afterwards: {memory_mb:.0f} MB")

    def refuse() -> None:
        try:
            pool.decode(b"\xff\xf1\x50\x80\x00\xff\xfc" * 3_500_000, max_duration_s=60.0)
        except MediaError as error:
            print(f"the hostile file: {error}")

    thread = threading.Thread(target=refuse)
    thread.start()
    clip, walls_ms = mp3(5.0), []
    while thread.is_alive():
        started_s = time.perf_counter()
        pool.decode(clip)
        walls_ms.append(1e3 * (time.perf_counter() - started_s))
    print(f"mp3 of 5 s beside it: median {statistics.median(walls_ms):.1f} ms")
    print(f"the first of them, which starts a process: {walls_ms[0]:.0f} ms")
    pool.close()


if __name__ == "__main__":
    main()
