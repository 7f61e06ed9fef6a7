"""Two Ray nodes on this machine with the Serve application, for the tests; run by Ray's Python.

Arguments: HTTP port, and the options of the deployment `clips` as JSON. Standard output has one
line of JSON when the application runs, and one in answer to each line of standard input:

    status    of the application and its deployments
    pids      process ids of the replicas of `clips`, by the node that they run on
    gpus      those that Ray counts, and those of them that aren't taken
    nodes     ids of the nodes beside the head
    update    deploys the application anew, with another environment: a rolling update
    add       a node; its id
    drain N   asks Ray to move everything away from a node, as before a host takes it away
    stop N    SIGTERM for a node, without notice
    config F  the names of deployments in a configuration file, if Serve accepts the file
    groups    which replicas of another application answer which LoRAs

It ends with its standard input.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import ServeDeploySchema

from riffusion.serving.ray.application import ServeReplicas, clips, ingress
from riffusion.serving.ray.lora_router import LoraRouter
from tests.ray_cluster.played import replicas_by_loras
from tests.ray_cluster.small_nodes import STORE_BYTES

NODE = {"object_store_memory": STORE_BYTES, "num_cpus": 3, "num_gpus": 1}
"""What each node tells Ray it has: processors for one replica of `clips`, and for others. Ray
counts the GPU, which needn't be there."""
CLIPS_TAKE = {"num_cpus": 2, "num_gpus": 0.5}
START_S = 180
REPORT_PERIOD_S = 1
DRAIN_S = 600


class Nodes:
    """The head, and the nodes beside it."""

    def __init__(self) -> None:
        head = {**NODE, "include_dashboard": False, "no_monitor": True}  # nothing adds nodes
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._by_id: dict[str, Any] = {}
        self.add()
        self.address = self._cluster.address

    @property
    def ids(self) -> list[str]:
        return list(self._by_id)

    def add(self) -> str:
        node = self._cluster.add_node(False, **NODE)
        self._by_id[node.node_id] = node
        return str(node.node_id)

    def drain(self, node_id: str) -> None:
        ray_command = Path(sys.executable).with_name("ray")
        options = {
            "address": self.address,
            "node-id": node_id,
            "reason": "DRAIN_NODE_REASON_PREEMPTION",
            "reason-message": "a test",
            "deadline-remaining-seconds": str(DRAIN_S),
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run([ray_command, "drain-node", *arguments], check=True, stdout=2)

    def stop(self, node_id: str) -> None:
        self._cluster.remove_node(self._by_id.pop(node_id), allow_graceful=True)

    def close(self) -> None:
        self._cluster.shutdown()


def wait_longer_for_nodes() -> None:
    """Ray gives a node 30 s to start, which is too short while other tests run."""
    get_node = ray._private.services.get_node

    def patient(*arguments: Any) -> Any:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    ray._private.services.get_node = patient


class Application:
    """The application on the cluster."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._version = 0
        self._deploy()
        self._replicas = ServeReplicas(serve.get_deployment_handle("clips", "riffusion"))

    def update(self) -> dict[str, Any]:
        """Replace all replicas by others with another environment."""
        self._version += 1
        self._deploy()
        return self.status()

    def _deploy(self) -> None:
        environment = {"env_vars": {"RIFFUSION_TEST_VERSION": str(self._version)}}
        configured = clips.options(
            **self._options,
            ray_actor_options={**CLIPS_TAKE, "runtime_env": environment},
            request_router_config=RequestRouterConfig(
                request_router_class=LoraRouter, request_routing_stats_period_s=REPORT_PERIOD_S
            ),
        )
        twice = ingress.options(num_replicas=2, max_replicas_per_node=1)
        serve.run(twice.bind(configured.bind()), name="riffusion", route_prefix="/")

    def status(self) -> dict[str, Any]:
        """States and numbers of replicas of the deployments."""
        application = serve.status().applications["riffusion"]
        return {
            name: {"status": deployment.status, "replicas": deployment.replica_states}
            for name, deployment in application.deployments.items()
        }

    def pids(self) -> dict[str, int]:
        """Process ids of the running replicas of `clips`, by node."""
        reports = self._replicas.reports().values()
        return {report["node"]: report["pid"] for report in reports if report}


def deployments_in(file: str) -> list[str]:
    schema = ServeDeploySchema.model_validate(yaml.safe_load(Path(file).read_text()))
    return [each.name for app in schema.applications for each in app.deployments]


def main() -> None:
    out = os.fdopen(os.dup(1), "w")  # Ray writes to standard output
    os.dup2(2, 1)
    port, options = int(sys.argv[1]), json.loads(sys.argv[2])
    wait_longer_for_nodes()
    nodes = Nodes()
    ray.init(address=nodes.address, log_to_driver=True, logging_level="warning")
    serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
    application = Application(options)
    commands: dict[str, Callable[..., object]] = {
        "status": application.status,
        "pids": application.pids,
        "gpus": lambda: [ray.cluster_resources()["GPU"], ray.available_resources()["GPU"]],
        "nodes": lambda: nodes.ids,
        "update": application.update,
        "add": nodes.add,
        "drain": nodes.drain,
        "stop": nodes.stop,
        "config": deployments_in,
        "groups": replicas_by_loras,
    }
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        print(json.dumps(commands[command](*arguments)), file=out, flush=True)
    serve.shutdown()
    ray.shutdown()
    nodes.close()


if __name__ == "__main__":
    main()
