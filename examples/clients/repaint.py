"""Replaces a section of a recording: python repaint.py song.wav 2 3.5 "church bells" out.wav"""

import base64
import os
import sys
from pathlib import Path

import httpx

URL = os.environ.get("RIFFUSION_URL", "http://127.0.0.1:3013") + "/run_inference/"


def main(recording: str, from_s: str, to_s: str, prompt: str, path: str) -> None:
    request = {
        "mode": "repaint",
        "start": {"prompt": prompt, "seed": 1},
        "init_audio": base64.b64encode(Path(recording).read_bytes()).decode(),
        "region": {"from_s": float(from_s), "to_s": float(to_s)},
        "preset": "fast",
        "audio_format": "wav",  # the rest of the recording stays, bit for bit
    }
    response = httpx.post(URL, json=request, timeout=600)
    answer = response.json()
    if response.is_error:
        sys.exit(f"{response.status_code}: {answer['error']}")
    Path(path).write_bytes(base64.b64decode(answer["audio"].split(",")[1]))
    print(f"Wrote {path} ({answer['duration_s']} seconds)")


if __name__ == "__main__":
    main(*sys.argv[1:6])
