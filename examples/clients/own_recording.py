"""Your own recording as the starting point: python own_recording.py song.wav "organ" organ.mp3"""

import base64
import os
import sys
from pathlib import Path

import httpx

URL = os.environ.get("RIFFUSION_URL", "http://127.0.0.1:3013") + "/run_inference/"


def main(recording: str, prompt: str, path: str) -> None:
    request = {
        "start": {"prompt": prompt, "seed": 1, "denoising": 0.6},  # 0 keeps all, 1 keeps nothing
        "init_audio": base64.b64encode(Path(recording).read_bytes()).decode(),
        "preset": "fast",
    }
    response = httpx.post(URL, json=request, timeout=300)
    answer = response.json()
    if response.is_error:
        sys.exit(f"{response.status_code}: {answer['error']}")
    Path(path).write_bytes(base64.b64decode(answer["audio"].split(",")[1]))
    print(f"Wrote {path} ({answer['duration_s']} seconds)")


if __name__ == "__main__":
    main(*sys.argv[1:4])
