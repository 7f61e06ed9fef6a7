"""What nodes on a busy machine of few processors need."""

STORE_BYTES = 80 * 2**20
PATIENT = {
    "RAY_raylet_start_wait_time_s": "240",
    "RAY_agent_register_timeout_ms": "240000",
    "RAY_worker_register_timeout_seconds": "240",
    "RAY_worker_niceness": "0",  # 15 by default: replicas starve where others compute
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""On a busy machine, Ray's processes take longer to start than Ray waits for them."""
