"""Two Ray nodes on this machine with the Serve application, for the tests; run by Ray's Python.

Arguments: HTTP port, and the options of the deployment `clips` as JSON. Standard output has one
line of JSON when the application runs, and one in answer to each line of standard input:

    status    of the application and its deployments
    pids      process ids of the replicas of `clips`, by the node that they run on
    update    deploys the application anew, with another environment: a rolling update
    config F  the names of deployments in a configuration file, if Serve accepts the file

It ends with its standard input.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.schema import ServeDeploySchema

from riffusion.serving.ray.application import clips, ingress

STORE_BYTES = 80 * 2**20


def main() -> None:
    out = os.fdopen(os.dup(1), "w")  # Ray writes to standard output
    os.dup2(2, 1)
    port, options = int(sys.argv[1]), json.loads(sys.argv[2])
    head = {"object_store_memory": STORE_BYTES, "include_dashboard": False, "num_cpus": 3}
    head["no_monitor"] = True  # nothing adds nodes
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(object_store_memory=STORE_BYTES, num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=True, logging_level="warning")
    serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
    deploy(options, version=0)
    say(out, {"ready": True})
    version = 0
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "status":
            say(out, status())
        elif command == "pids":
            say(out, pids())
        elif command == "update":
            version += 1
            deploy(options, version)
            say(out, status())
        elif command == "config":
            values = yaml.safe_load(Path(arguments[0]).read_text())
            schema = ServeDeploySchema.model_validate(values)
            say(out, [each.name for app in schema.applications for each in app.deployments])
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


def deploy(options: dict[str, Any], version: int) -> None:
    """Deploy the application, or replace its replicas if the version is another one."""
    actor = {"num_cpus": 2, "runtime_env": {"env_vars": {"RIFFUSION_TEST_VERSION": str(version)}}}
    configured = clips.options(**options, ray_actor_options=actor)
    serve.run(ingress.bind(configured.bind()), name="riffusion", route_prefix="/")


def status() -> dict[str, Any]:
    """States and numbers of replicas of the deployments."""
    application = serve.status().applications["riffusion"]
    return {
        name: {"status": deployment.status, "replicas": deployment.replica_states}
        for name, deployment in application.deployments.items()
    }


def pids() -> dict[str, int]:
    """Process ids of the running replicas of `clips`, by node."""
    handle = serve.get_deployment_handle("clips", "riffusion")
    try:
        answers = handle.broadcast("location").results(timeout_s=60, return_exceptions=True)
    except DeploymentUnavailableError:
        return {}
    return dict(answer for answer in answers if not isinstance(answer, BaseException))


def say(out: Any, answer: object) -> None:
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
