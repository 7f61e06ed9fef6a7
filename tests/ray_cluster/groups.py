"""The requests of `played.py`. Apart from it, as tests run without Ray."""

NUM_REPLICAS = 2
NUM_REQUESTS = 12
"""Per group. That random choice sends all of them to one replica is a case in 2,000."""
LORAS: dict[str, list[dict[str, object]]] = {
    "none": [],
    "bells": [{"id": "bells"}],
    "choir": [{"id": "choir", "weight": 0.5}],
    "both": [{"id": "bells"}, {"id": "choir", "weight": 0.5}],
}
