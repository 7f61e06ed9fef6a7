"""Follow the progress of a clip: python progress.py "jazz trio" jazz.mp3

With "stream": true the answer is one JSON object per line: progress events, then the result.
"""

import base64
import json
import os
import sys

import httpx

URL = os.environ.get("RIFFUSION_URL", "http://127.0.0.1:3013") + "/run_inference/"


def main(prompt: str, path: str) -> None:
    request = {"start": {"prompt": prompt, "seed": 7}, "num_inference_steps": 12, "stream": True}
    with httpx.stream("POST", URL, json=request, timeout=120) as response:
        for line in response.iter_lines():
            event = json.loads(line)
            if event.get("event") == "progress":
                print(event)
            elif event.get("event") == "result":
                with open(path, "wb") as file:
                    file.write(base64.b64decode(event["audio"].split(",")[1]))
                print(f"Wrote {path}")
            else:
                sys.exit(event["error"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
