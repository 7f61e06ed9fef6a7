"""Parts of requests."""

START = {"prompt": "church bells", "seed": 42}
SECTION = {"from_s": 1, "to_s": 2}
RECORDING = {"init_audio": "a"}
BETWEEN = {**RECORDING, "mode": "between", "init_audio_b": "b"}
EDIT = {**RECORDING, "mode": "repaint", "region": SECTION}
