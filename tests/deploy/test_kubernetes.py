"""deploy/kubernetes: valid for Kubernetes, hardened, and true of the servers it starts."""

import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from pydantic import ValidationError

from riffusion.checkpoint.source import TRUSS_MOUNT
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.runtime.gpu import REQUIRE_GPU
from riffusion.serving.addresses import DEFAULT_PORT, READY_PATH
from riffusion.serving.client import DEFAULT_TIMEOUT_S, Endpoint
from riffusion.serving.gateway.app import DEFAULT_PORT as GATEWAY_PORT
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.local.gateway_server import _STOP_TIMEOUT_S
from riffusion.serving.model import metrics
from riffusion.serving.model.clip_service import DEFAULT_MAX_WAITING
from riffusion.serving.model.request_body import MAX_BODY_BYTES
from tests.deploy.kustomize import Manifest, containers
from tests.deploy.manifests import (
    FOLDER,
    ROOT,
    built,
    deployment,
    environment,
    has_route,
    image_arguments,
    one,
    parsed,
)

KUSTOMIZATIONS = sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml"))
KUBERNETES_VERSIONS = ("1.30", "1.37")
"""The oldest with `preStop.sleep` turned on, and the newest that there are schemas for."""
EXTENSIONS = {"ScaledObject"}
"""Kinds that Kubernetes' own schemas don't have."""
PRE_STOP_S = 10


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    return loaded


def pods() -> list[tuple[str, dict[str, Any]]]:
    """All pods of all kustomizations, with a name for each."""
    return [
        (f"{folder}: {manifest['metadata']['name']}", manifest["spec"]["template"]["spec"])
        for folder in KUSTOMIZATIONS
        for manifest in built(folder)
        if containers(manifest)
    ]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_the_manifests_are_valid(name: str, version: str) -> None:
    checked = [manifest for manifest in built(name) if manifest["kind"] not in EXTENSIONS]
    assert len(checked) >= 3
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in built(name)]
    assert len(set(names)) == len(names)


def test_the_validator_finds_mistakes() -> None:
    manifest = json.loads(json.dumps(one("base", "Deployment", "riffusion-model")))
    manifest["spec"]["template"]["spec"]["automountServiceAccountTokens"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES_VERSIONS[0], strict=True)


def keda_reads(manifest: Manifest) -> Manifest:
    """What is left of a manifest by KEDA's schema, which drops fields that it doesn't have."""
    read = ScaledObject.model_validate(manifest)
    left: Manifest = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return left


def test_the_scaled_object_is_valid_for_keda() -> None:
    scaled = one("autoscaling-keda", "ScaledObject", "riffusion-model")
    assert keda_reads(scaled) == scaled


def test_keda_s_schema_finds_mistakes() -> None:
    scaled = one("autoscaling-keda", "ScaledObject", "riffusion-model")
    for change in ({"minReplicas": 2}, {"advanced": {"horizontalPodAutoscaler": {}}}):
        changed = {**scaled, "spec": {**scaled["spec"], **change}}
        assert keda_reads(changed) != changed
    for refused in ({"scaleTargetRef": {}}, {"pollingInterval": "often"}, {"triggers": [{}]}):
        with pytest.raises(ValidationError):
            keda_reads({**scaled, "spec": {**scaled["spec"], **refused}})


def test_every_file_is_used() -> None:
    used = {
        (folder / name).resolve()
        for folder in FOLDER.iterdir()
        for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    }
    others = {"kustomization.yaml", "adapter-values.yaml"}
    files = {path for path in FOLDER.rglob("*.yaml") if path.name not in others}
    assert files <= used


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_pods_have_no_rights(name: str, pod: dict[str, Any]) -> None:
    """The profile "restricted" of Kubernetes' pod security, and more."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 60_000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        assert mounts["temporary"]["mountPath"] == "/tmp" == environment(container)["HOME"]
    for volume in pod["volumes"]:
        assert volume.keys() - {"name"} <= {"emptyDir", "persistentVolumeClaim"}
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""})


def test_the_namespace_asks_the_cluster_to_refuse_others() -> None:
    labels = one("base", "Namespace", "riffusion")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_model_has_what_the_bundle_asks_for(config: dict[str, Any]) -> None:
    pod, container = deployment("model")
    resources = container["resources"]
    assert resources["requests"]["cpu"] == config["resources"]["cpu"]
    assert resources["requests"]["memory"] == config["resources"]["memory"]
    assert resources["limits"]["nvidia.com/gpu"] == 1
    assert environment(container).items() >= config["environment_variables"].items()
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    (weights,) = config["weights"]
    assert mounts["weights"]["mountPath"] == weights["mount_location"] == str(TRUSS_MOUNT)
    assert mounts["weights"]["readOnly"] is True
    (job,) = (m for m in built("weights") if m["kind"] == "Job")
    code = containers(job)[0]["command"][-1]
    name, _, revision = weights["source"].removeprefix("hf://").partition("@")
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **options: Any) -> None:
        asked.update(options, name=name)

    exec(code.replace("from huggingface_hub import snapshot_download", ""), locals())
    assert asked == {
        "name": name,
        "revision": revision,
        "local_dir": weights["mount_location"],
        "allow_patterns": weights["allow_patterns"],
        "ignore_patterns": weights["ignore_patterns"],
    }
    claims = [m for m in built("weights") if m["kind"] == "PersistentVolumeClaim"]
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "weights")
    assert volume["persistentVolumeClaim"]["claimName"] == claims[0]["metadata"]["name"]


def test_the_model_s_probes_are_the_bundle_s_health_checks(config: dict[str, Any]) -> None:
    _, container = deployment("model")
    checks = config["runtime"]["health_checks"]
    for probe, limit_s in (
        ("startupProbe", checks["startup_threshold_seconds"]),
        ("readinessProbe", checks["stop_traffic_threshold_seconds"]),
        ("livenessProbe", checks["restart_threshold_seconds"]),
    ):
        asked = container[probe]
        assert asked["httpGet"] == {"path": READY_PATH, "port": "http"}
        assert asked["periodSeconds"] * asked["failureThreshold"] == limit_s, probe
    assert container["ports"] == [{"name": "http", "containerPort": DEFAULT_PORT}]


def test_the_gateway_s_probes_and_arguments_are_real() -> None:
    _, container = deployment("gateway")
    assert container["ports"] == [{"name": "http", "containerPort": GATEWAY_PORT}]
    app = create_gateway(Endpoint("http://riffusion-model:8080"))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "http"
        assert has_route(app, asked["path"])
    assert not has_route(app, "/no-such-path")
    context = parsed([*image_arguments(), *container["args"]])
    assert context["host"] == "0.0.0.0"
    assert context["gateway_port"] == GATEWAY_PORT
    endpoint = Endpoint(context["endpoint"])
    service = one("base", "Service", "riffusion-model")
    assert endpoint.predict_url.host == service["metadata"]["name"]
    assert endpoint.predict_url.port == service["spec"]["ports"][0]["port"] == DEFAULT_PORT


def test_pods_get_the_time_that_they_need_to_end() -> None:
    _, options = deployment("gateway")
    timeout_s = parsed([*image_arguments(), *options["args"]])["timeout"]
    assert timeout_s == DEFAULT_TIMEOUT_S
    for part, drain_s in (("model", timeout_s), ("gateway", _STOP_TIMEOUT_S)):
        pod, container = deployment(part)
        assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": PRE_STOP_S}}
        spare_s = pod["terminationGracePeriodSeconds"] - PRE_STOP_S - drain_s
        assert 5 <= spare_s <= 30, part


@pytest.mark.parametrize("part", ["model", "gateway"])
def test_services_budgets_and_policies_find_their_pods(part: str) -> None:
    name = f"riffusion-{part}"
    found = one("base", "Deployment", name)["spec"]
    labels = found["template"]["metadata"]["labels"].items()
    assert found["selector"]["matchLabels"].items() <= labels
    service = one("base", "Service", name)["spec"]
    assert service["selector"].items() <= labels
    assert (
        service["ports"][0]["targetPort"]
        == found["template"]["spec"]["containers"][0]["ports"][0]["name"]
    )
    budget = one("base", "PodDisruptionBudget", name)["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels
    assert budget["maxUnavailable"] == 1
    policy = one("base", "NetworkPolicy", name)["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels


def test_only_the_gateway_reaches_the_model_which_reaches_nobody() -> None:
    everything = one("base", "NetworkPolicy", "nothing-else")["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    model = one("base", "NetworkPolicy", "riffusion-model")["spec"]
    assert model["egress"] == []
    ((rule),) = model["ingress"]
    gateway = one("base", "Deployment", "riffusion-gateway")["spec"]["template"]["metadata"]
    assert rule["from"][0]["podSelector"]["matchLabels"].items() <= gateway["labels"].items()
    assert rule["ports"] == [{"port": "http"}]
    out = one("base", "NetworkPolicy", "riffusion-gateway")["spec"]["egress"]
    assert out[0]["ports"] == [{"port": DEFAULT_PORT}]


def test_prometheus_finds_the_metrics_by_which_models_are_added() -> None:
    template = one("base", "Deployment", "riffusion-model")["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(DEFAULT_PORT)
    assert annotations["prometheus.io/path"] == "/metrics/"
    limits = {metrics._WAITING._name: DEFAULT_MAX_WAITING, metrics._RUNNING._name: MAX_NUM_RUNNING}
    autoscaler = one("autoscaling-prometheus", "HorizontalPodAutoscaler", "riffusion-model")["spec"]
    targets = {
        metric["pods"]["metric"]["name"]: int(metric["pods"]["target"]["averageValue"])
        for metric in autoscaler["metrics"]
    }
    assert targets.keys() == limits.keys()
    assert all(0 < targets[name] < limits[name] for name in targets)
    values = yaml.safe_load((FOLDER / "autoscaling-prometheus/adapter-values.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    (pattern,) = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    assert all(re.fullmatch(pattern, name) for name in targets)
    assert rule["resources"]["overrides"].keys() == {"namespace", "pod"}
    scaled = one("autoscaling-keda", "ScaledObject", "riffusion-model")["spec"]
    assert scaled["scaleTargetRef"]["name"] == autoscaler["scaleTargetRef"]["name"]
    queries = {
        re.fullmatch(r'sum\((\w+)\{namespace="riffusion"\}\)', trigger["metadata"]["query"])[
            1
        ]:  # type: ignore[index]
        int(trigger["metadata"]["threshold"])
        for trigger in scaled["triggers"]
    }
    assert queries == targets
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (
        autoscaler["minReplicas"],
        autoscaler["maxReplicas"],
    )


@pytest.mark.parametrize("folder", ["autoscaling-prometheus", "autoscaling-keda"])
def test_where_models_are_added_their_number_is_not_set(folder: str) -> None:
    assert "replicas" not in one(folder, "Deployment", "riffusion-model")["spec"]
    assert one("base", "Deployment", "riffusion-model")["spec"]["replicas"] == 2


def test_the_demo_needs_neither_gpu_nor_weights() -> None:
    pod, container = deployment("model", "cpu-demo")
    assert environment(container)[REQUIRE_GPU] == "0"
    assert "nvidia" not in json.dumps(pod)
    assert str(TRUSS_MOUNT) not in json.dumps(pod)
    of_base = environment(deployment("model")[1])
    assert environment(container) == {**of_base, REQUIRE_GPU: "0"}


def test_the_page_s_ingress_leads_to_the_gateway_and_waits_longer_than_it() -> None:
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    ingress = yaml.safe_load(block)
    kubernetes_validate.validate(ingress, KUBERNETES_VERSIONS[1], strict=True)
    service = one("base", "Service", "riffusion-gateway")
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    backend = path["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]
    prefix = "nginx.ingress.kubernetes.io/"
    values = ingress["metadata"]["annotations"]
    assert int(values[prefix + "proxy-read-timeout"]) > DEFAULT_TIMEOUT_S
    assert int(values[prefix + "proxy-body-size"].rstrip("m")) * 2**20 > MAX_BODY_BYTES
    for folder in re.findall(r"kubectl apply -[kf] (\S+)", page):
        assert (ROOT / folder).exists()
    assert {path.name for path in FOLDER.iterdir()} == set(
        re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    )


def test_the_page_names_the_revision_of_the_checkpoint(config: dict[str, Any]) -> None:
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    name, _, revision = config["weights"][0]["source"].removeprefix("hf://").partition("@")
    assert f"hf download {name} --revision {revision} " in page
