"""Text to an MP3 file: python one_clip.py "church bells" bells.mp3"""

import base64
import os
import sys

import httpx

URL = os.environ.get("RIFFUSION_URL", "http://127.0.0.1:3013") + "/run_inference/"


def main(prompt: str, path: str) -> None:
    request = {
        "start": {"prompt": prompt, "seed": 42},
        "mode": "txt2img",  # from noise alone; leave it out to start from a seed image
        "preset": "fast",
    }
    response = httpx.post(URL, json=request, timeout=120)
    answer = response.json()
    if response.is_error:
        sys.exit(f"{response.status_code}: {answer['error']}")
    with open(path, "wb") as file:
        file.write(base64.b64decode(answer["audio"].split(",")[1]))
    print(f"Wrote {path} ({answer['duration_s']} seconds)")


if __name__ == "__main__":
    main(*sys.argv[1:3])
