"""What is applied to a Kubernetes cluster, without one: objects against the schemas of their kinds, and commands against our options."""

import functools
import json
import lzma
import re
import shlex
from importlib import import_module
from pathlib import Path

import jsonschema
import kubernetes_validate
import promql_parser
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from jobs.cli import stores
from ms2sl.deprecated_names import rename_deprecated
from serve.settings import Service

ROOT = Path(__file__).parents[2]
DEPLOY, CRDS = ROOT / "deploy", Path(__file__).parent / "crds"


def named(found: dict) -> str:
    return found["metadata"].get("name") or found["metadata"]["generateName"]


OPERATORS = {
    "RayCluster": "ray.io_rayclusters",
    "RayJob": "ray.io_rayjobs",
    "RayService": "ray.io_rayservices",
    "PodMonitor": "monitoring.coreos.com_podmonitors",
    "PrometheusRule": "monitoring.coreos.com_prometheusrules",
}
OBJECTS = [
    pytest.param(found, id=f"{file.stem} {found['kind']} {named(found)}")
    for file in sorted(DEPLOY.rglob("*/*.yaml"))
    if file.name != "kustomization.yaml"
    for found in yaml.safe_load_all(file.read_text())
]
JOBS = [each for each in OBJECTS if each.values[0]["kind"] == "RayJob"]
QUERIES = re.compile(r"\$__rate_interval")


@functools.cache
def schema_of(kind: str) -> dict:
    """That of its operator, in which nothing is allowed that it does not name, as kubectl has it."""
    crd = yaml.load(lzma.decompress((CRDS / f"{OPERATORS[kind]}.yaml.xz").read_bytes()), yaml.CSafeLoader)
    (version,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1")
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: dict) -> dict:
    if "properties" in schema:
        inside = {name: _strict(each) for name, each in schema["properties"].items()}
        whole = not schema.get("x-kubernetes-preserve-unknown-fields")
        schema = schema | {"properties": inside} | ({"additionalProperties": False} if whole else {})
    if schema.get("x-kubernetes-int-or-string"):
        schema = {key: value for key, value in schema.items() if key not in ("anyOf", "pattern", "type")} | {"type": ["integer", "string"]}
    if schema.get("pattern", "").startswith("^(?i)"):  # as Go has it
        schema = schema | {"pattern": f"(?i)^{schema['pattern'].removeprefix('^(?i)')}"}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema = schema | {key: _strict(schema[key])}
    return schema


@pytest.mark.parametrize("found", OBJECTS)
def test_an_object_is_of_its_kind(found):
    if found["kind"] in OPERATORS:
        jsonschema.validate(found, schema_of(found["kind"]))
        assert re.fullmatch(r"[a-z0-9-]{1,40}", named(found))
    else:
        kubernetes_validate.validate(found, "1.32", strict=True)


def test_a_wrong_field_would_be_found():
    cluster = next(each.values[0] for each in OBJECTS if each.values[0]["kind"] == "RayCluster")
    for change in ({"headGroupSpecs": {}}, {"enableInTreeAutoscaling": "yes"}, {"workerGroupSpecs": [{"groupName": "a"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cluster | {"spec": cluster["spec"] | change}, schema_of("RayCluster"))
    monitor = next(each.values[0] for each in OBJECTS if each.values[0]["kind"] == "PodMonitor")
    for change in ({"podMetricsEndpoints": [{"port": 8080}]}, {"selectors": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(monitor | {"spec": monitor["spec"] | change}, schema_of("PodMonitor"))


@pytest.mark.parametrize("found", JOBS)
def test_a_job_calls_a_command_with_options_that_it_has(found):
    python, dash, module, *arguments = shlex.split(found["spec"]["entrypoint"])
    assert (python, dash) == ("python", "-m")
    command = getattr(import_module(module), f"{module.removeprefix('jobs.').capitalize()}Command")
    options = command.parse(arguments)
    named = {place.uri for place in stores(options.model_dump())}
    assert named, "what it makes lies in the bucket"
    assert all(uri.startswith("s3://ms2sl/") for uri in named)
    assert module == "jobs.prepare" or options.tracking == "http://ms2sl-mlflow:5000"


@pytest.mark.parametrize("found", JOBS)
def test_a_job_is_what_the_operator_takes(found):
    """Which refuses retries, and an end of the cluster, of a job that runs on a cluster that is there (KubeRay's validation since 1.6)."""
    cluster = next(each.values[0] for each in OBJECTS if each.values[0]["kind"] == "RayCluster")
    assert found["spec"]["clusterSelector"] == {"ray.io/cluster": named(cluster)}
    assert not {"backoffLimit", "shutdownAfterJobFinishes", "rayClusterSpec"} & found["spec"].keys()
    assert found["spec"]["entrypointNumCpus"] > 0, "else its driver runs on the head"
    assert "generateName" in found["metadata"], "so that the same can be asked for again"


def test_the_service_and_the_cluster_have_names_of_their_own():
    names = [named(each.values[0]) for each in OBJECTS if each.values[0]["kind"] in ("RayCluster", "RayService")]
    assert len(set(names)) == len(names), "their head services are called after them"


def test_all_that_is_mounted_or_read_is_made_by_what_the_docs_say():
    said = set(re.findall(r"kubectl create secret generic (\S+)", (ROOT / "docs" / "cluster.md").read_text()))
    text = "".join(file.read_text() for file in (DEPLOY / "kuberay").rglob("*.yaml"))
    asked = set(re.findall(r"secret(?:Ref|KeyRef|Name): (?:\{name: )?([\w-]+)", text))
    assert asked == said


def test_every_pod_that_may_read_the_api_keys_has_them():
    """The application is built on the head, which reads them too."""
    service = next(each.values[0] for each in OBJECTS if each.values[0]["kind"] == "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    folder = Path(yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"]["api_keys_file"]).parent
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert str(folder) in {mount["mountPath"] for mount in container.get("volumeMounts", [])}


def test_what_is_applied_together_is_there_and_of_the_images_that_are_named():
    kustomization = yaml.safe_load((DEPLOY / "kuberay" / "kustomization.yaml").read_text())
    text = "".join((DEPLOY / "kuberay" / name).read_text() for name in kustomization["resources"])
    assert set(re.findall(r"image: (ms2sl\S*)", text)) == {image["name"] for image in kustomization["images"]}


def test_the_clusters_run_the_version_of_ray_that_the_program_wants():
    versions = set(re.findall(r"rayVersion: (\S+)", "".join(file.read_text() for file in DEPLOY.rglob("*.yaml"))))
    assert versions == {ray.__version__}


def test_the_service_has_arguments_that_it_knows():
    service = next(each.values[0] for each in OBJECTS if each.values[0]["kind"] == "RayService")
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (application,) = config.applications
    settings = Service.parse(application.args)
    assert rename_deprecated(application.args, Service)[1] == {}
    assert {deployment.name for deployment in application.deployments} == {"Sampler", "Frontend"}
    gpus = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][1]
    assert gpus["minReplicas"] == 0, "a cluster without requests has no GPU"
    assert settings.gpus * settings.max_replicas <= gpus["maxReplicas"]


def test_the_image_has_what_it_copies_and_the_program_alone():
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Containerfile").read_text(), re.M)
    names = [name for line in copied for name in line.split()]
    assert all((ROOT / name).exists() for name in names)
    kept = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert kept[0] == "*"
    assert {line.removeprefix("!") for line in kept if line.startswith("!")} == set(names)


def test_alerts_and_panels_ask_for_measurements_that_there_are():
    rules = [each for each in yaml.safe_load_all((DEPLOY / "monitoring/prometheus.yaml").read_text()) if each["kind"] == "PrometheusRule"]
    asked = [rule["expr"] for each in rules for group in each["spec"]["groups"] for rule in group["rules"]]
    dashboard = json.loads((DEPLOY / "monitoring/grafana.json").read_text())
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    ours = "".join(file.read_text() for file in (ROOT / "serve").glob("*.py"))
    rays = "".join(file.read_text() for file in (Path(ray.__file__).parent / "dashboard").rglob("*.py"))
    for query in asked:
        promql_parser.parse(QUERIES.sub("5m", query))
        for name in re.findall(r"\bray_(\w+)", query):
            name = re.sub(r"_(bucket|sum|count)$", "", name)
            assert f'"{name}"' in ours or re.search(rf"\b(ray_)?{name}\b", rays), name
