"""The chart: Helm renders it for each file of values in ci/, and Kubernetes' own schemas accept all that comes out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from gateway import __version__
from gateway.config import Config
from gateway.web.settings import ServerSettings
from tests.support.node import missing

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "tokenweir"
VALUES = sorted((CHART / "ci").glob("*.yaml"))
KUBERNETES = ("1.27", "1.33")
OTHERS = "monitoring.coreos.com/v1"  # kinds that are the Prometheus operator's


def helm(*arguments):
    if importlib.util.find_spec("helm_python") is None:
        missing("Helm is needed: make .venv/.helm")
    command = [sys.executable, ROOT / "tools" / "helm.py", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made():
    """What the chart makes, by the name of the values and the kind."""
    everything = {}
    for values in VALUES:
        ended = helm("template", values)
        assert ended.returncode == 0, ended.stderr
        everything[values.stem] = [part for part in yaml.safe_load_all(ended.stdout) if part]
    return everything


def the(parts, kind, name="release-tokenweir"):
    return next(part for part in parts if part["kind"] == kind and part["metadata"]["name"] == name)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_helm_finds_nothing_wrong(values):
    ended = helm("lint", values)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_it(made, version):
    for parts in made.values():
        for part in parts:
            if part["apiVersion"] != OTHERS:
                kubernetes_validate.validate(part, version, strict=True)


def test_a_wrong_value_is_refused(tmp_path):
    for text, why in (
        ("replica: 3", "replica"),
        ("replicas: 3", "database.secret"),
        ("claude: {secret: ''}", "claude"),
    ):
        values = tmp_path / "values.yaml"
        values.write_text(text)
        ended = helm("template", values)
        assert ended.returncode == 1
        assert why in ended.stderr


def test_pods_are_confined(made):
    for parts in made.values():
        pod = the(parts, "Deployment")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_secrets_are_files_of_secrets_that_exist_elsewhere(made):
    """None is in the chart's output; a file is read anew at a reload, a variable is not."""
    parts = made["many"]
    assert not [part for part in parts if part["kind"] == "Secret"]
    pod = the(parts, "Deployment")["spec"]["template"]["spec"]
    variables = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    named = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    for name, variable in (
        ("claude", "ANTHROPIC_API_KEY_FILE"),
        ("database", "TOKENWEIR_DATABASE_URL_FILE"),
        ("redis", "TOKENWEIR_REDIS_URL_FILE"),
        ("pepper", "TOKENWEIR_KEY_PEPPER_FILE"),
    ):
        assert named[name] == f"tokenweir-{name}"
        assert variables[variable].startswith(f"{mounts[name]}/")


def test_a_pod_that_goes_has_time_for_its_streams(made):
    pod = the(made["one"], "Deployment")["spec"]["template"]["spec"]
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    server = ServerSettings()
    needed = pause + server.drain_delay + server.drain_grace + server.drain_last_words + 2 * server.shutdown_timeout
    assert pod["terminationGracePeriodSeconds"] > needed


def test_one_replica_has_a_volume_and_several_have_none(made):
    assert the(made["one"], "Deployment")["spec"]["strategy"]["type"] == "Recreate"
    assert the(made["one"], "PersistentVolumeClaim")
    for name in ("many", "fixed"):
        kinds = {part["kind"] for part in made[name]}
        assert "PersistentVolumeClaim" not in kinds
        assert "PodDisruptionBudget" in kinds
        assert the(made[name], "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_autoscaler_counts_streams_by_a_metric_that_there_is(made):
    autoscaler = the(made["many"], "HorizontalPodAutoscaler")["spec"]
    (metric,) = autoscaler["metrics"]
    assert f"`{metric['pods']['metric']['name']}`" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert "replicas" not in the(made["many"], "Deployment")["spec"]
    assert the(made["fixed"], "Deployment")["spec"]["replicas"] == 3


def test_everything_that_selects_pods_finds_them(made):
    for parts in made.values():
        deployment = the(parts, "Deployment")["spec"]
        labels = deployment["template"]["metadata"]["labels"].items()
        ports = {port["name"] for port in deployment["template"]["spec"]["containers"][0]["ports"]}
        assert deployment["selector"]["matchLabels"].items() <= labels
        for part in parts:
            spec = part.get("spec", {})
            if part["kind"] == "Service":
                assert spec["selector"].items() <= labels
                assert {port["targetPort"] for port in spec["ports"]} <= ports
            if part["kind"] == "NetworkPolicy":
                assert spec["podSelector"]["matchLabels"].items() <= labels
            if part["kind"] == "PodDisruptionBudget":
                assert spec["selector"]["matchLabels"].items() <= labels


def test_prometheus_scrapes_the_operators_port_and_no_other(made):
    parts = made["many"]
    monitor = the(parts, "ServiceMonitor")["spec"]
    services = [part for part in parts if part["kind"] == "Service"]
    found = [
        part for part in services if monitor["selector"]["matchLabels"].items() <= part["metadata"]["labels"].items()
    ]
    assert [part["metadata"]["name"] for part in found] == ["release-tokenweir-operators"]
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in found[0]["spec"]["ports"]}
    assert monitor["endpoints"][0]["relabelings"] == [{"targetLabel": "job", "replacement": "tokenweir"}]


def test_the_operators_port_is_for_those_who_are_named(made):
    ingress = the(made["one"], "NetworkPolicy")["spec"]["ingress"]
    (operators,) = [rule for rule in ingress if rule["ports"][0]["port"] == "operators"]
    assert operators["from"]


def test_rules_and_dashboards_are_those_of_grafana(made):
    parts = made["many"]
    for kind, pattern in (("PrometheusRule", "prometheus/*.yaml"), ("ConfigMap", "dashboards/*.json")):
        names = {f"{'dashboard-' * (kind == 'ConfigMap')}{path.stem}" for path in (ROOT / "grafana").glob(pattern)}
        assert names <= {
            part["metadata"]["name"].removeprefix("release-tokenweir-") for part in parts if part["kind"] == kind
        }
    for path in (ROOT / "grafana").glob("prometheus/*.yaml"):
        rule = the(parts, "PrometheusRule", f"release-tokenweir-{path.stem}")
        assert rule["spec"]["groups"] == yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]


def test_the_chart_is_of_this_version_and_its_configuration_is_one():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert Config(**tomllib.loads(values["config"]))
