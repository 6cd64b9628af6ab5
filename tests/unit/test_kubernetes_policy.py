"""deploy/kubernetes: each pod keeps to the rules of "restricted", and only the connections that are needed are open."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests import kubernetes
from tests.kubernetes import Resource, of_kind, pods

# Those that go on, and are not replaced all at once.
LASTING = ("worker", "api-stub")
# Of NATS and MongoDB we write only a part of the pods; their labels are the chart's and the operator's.
SERVERS = {"nats": {"app.kubernetes.io/name": "nats"}, "mongo": {"app": "mongo-svc"}}
PORTS = (4222, 6222, 8222, 7777, 27017, 8080, 8081)
# Who may connect to whom.
OPEN = {
    ("worker", "nats", 4222),
    ("api-stub", "nats", 4222),
    ("provision", "nats", 4222),
    ("verify", "nats", 4222),
    ("nats", "nats", 6222),
    ("api-stub", "mongo", 27017),
    ("provision", "mongo", 27017),
    ("verify", "mongo", 27017),
    ("mongo", "mongo", 27017),
    ("verify", "api-stub", 8080),
}


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return kubernetes.built()


def specs(resources: list[Resource]) -> dict[str, Resource]:
    """The pods, also those for which the chart and the operator take a part from us."""
    values = kubernetes.values("nats.values.yaml")
    nats = values["podTemplate"]["merge"]["spec"]
    containers = [{"name": name, **values[name]["merge"]} for name in ("container", "reloader", "promExporter")]
    containers[0]["resources"] = values["container"]["resources"]
    mongo = of_kind(resources, "MongoDBCommunity")["mongo"]["spec"]["statefulSet"]["spec"]["template"]["spec"]
    return {
        **{name: template["spec"] for name, template in pods(resources)},
        "nats": nats | {"containers": containers},
        "mongo": mongo,
    }


# https://kubernetes.io/docs/concepts/security/pod-security-standards/
def breaches(spec: Resource) -> Iterator[str]:
    """Which rules of "restricted" a pod breaks."""
    pod = spec.get("securityContext", {})
    if not pod.get("runAsNonRoot") or not pod.get("runAsUser"):
        yield "user"
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile"
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    kinds = {key for volume in spec.get("volumes", []) for key in volume} - {"name"}
    yield from kinds - {"configMap", "secret", "projected", "emptyDir"}
    for container in spec["containers"]:
        context = container.get("securityContext", {})
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"capabilities of {container['name']}"
        if context.get("allowPrivilegeEscalation", True):
            yield f"escalation in {container['name']}"
        yield from context.keys() - {"capabilities", "allowPrivilegeEscalation", "readOnlyRootFilesystem"}


def test_the_namespace_takes_only_restricted_pods_and_all_are(resources: list[Resource]) -> None:
    labels = of_kind(resources, "Namespace")["crypto-updates"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    # The operator makes those of MongoDB restricted by itself.
    ours = {name: spec for name, spec in specs(resources).items() if name != "mongo"}
    assert {name: found for name, spec in ours.items() if (found := [*breaches(spec)])} == {}


@pytest.mark.parametrize(
    "wrong", [{"securityContext": {}}, {"hostNetwork": True}, {"containers": [{"name": "bare"}]}], ids=str
)
def test_a_pod_that_breaks_a_rule_is_found(wrong: Resource, resources: list[Resource]) -> None:
    assert list(breaches(specs(resources)["worker"] | wrong))


def test_a_pod_of_ours_writes_only_to_its_volumes_and_knows_nothing_of_the_cluster(resources: list[Resource]) -> None:
    for _, template in pods(resources):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in spec["containers"])


def test_every_container_asks_for_memory_and_has_a_limit(resources: list[Resource]) -> None:
    for name, spec in specs(resources).items():
        for container in spec["containers"]:
            given: dict[str, Any] = container["resources"]
            assert given["requests"].keys() == {"cpu", "memory"}, name
            assert given["limits"].keys() == {"memory"}, name


def test_a_service_is_probed_by_the_paths_that_it_has(resources: list[Resource]) -> None:
    found = dict(pods(resources))
    for name in LASTING:
        container = found[name]["spec"]["containers"][0]
        paths = {key: container[key]["httpGet"]["path"] for key in ("startupProbe", "livenessProbe", "readinessProbe")}
        # A server that is away makes no service ill: a restart would not help.
        assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        assert all(container[key]["httpGet"]["port"] == container["ports"][0]["name"] for key in paths)


def test_a_drain_of_nodes_takes_one_of_each_kind_at_a_time(resources: list[Resource]) -> None:
    budgets = of_kind(resources, "PodDisruptionBudget")
    labels = {name: template["metadata"]["labels"] for name, template in pods(resources)} | SERVERS
    for name in (*LASTING, "mongo"):
        assert budgets[name]["spec"]["maxUnavailable"] == 1
        assert budgets[name]["spec"]["selector"]["matchLabels"].items() <= labels[name].items()


def test_a_service_selects_its_pods_by_a_port_that_they_have(resources: list[Resource]) -> None:
    found = dict(pods(resources))
    services = of_kind(resources, "Service")
    assert services.keys() == set(LASTING)
    for name, service in services.items():
        assert service["spec"]["selector"].items() <= found[name]["metadata"]["labels"].items()
        names = {port["name"] for port in found[name]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def chosen(selector: Resource, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def allows(policy: Resource, way: str, other: dict[str, str], port: int) -> bool:
    """Whether one of the policy's rules lets this pod connect to the other one, or the other way round."""
    for rule in policy["spec"].get(way, []):
        peers = rule.get("to" if way == "egress" else "from")
        pod_fits = peers is None or any(
            chosen(peer["podSelector"], other) for peer in peers if peer.keys() == {"podSelector"}
        )
        if pod_fits and port in {one["port"] for one in rule["ports"]}:
            return True
    return False


@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_only_the_connections_that_are_needed_are_open_on_either_side(way: str, resources: list[Resource]) -> None:
    policies = list(of_kind(resources, "NetworkPolicy").values())
    for_all = [policy for policy in policies if policy["spec"]["podSelector"] == {}]
    assert {way for policy in for_all for way in policy["spec"]["policyTypes"]} == {"Ingress", "Egress"}
    labels = {name: template["metadata"]["labels"] for name, template in pods(resources)} | SERVERS
    found = set()
    for sender, receiver, port in product(labels, labels, PORTS):
        own, other = (sender, receiver) if way == "egress" else (receiver, sender)
        mine = [policy for policy in policies if chosen(policy["spec"]["podSelector"], labels[own])]
        if any(allows(policy, way, labels[other], port) for policy in mine):
            found.add((sender, receiver, port))
    assert found == OPEN


def test_only_the_worker_gets_out_and_not_into_a_private_network(resources: list[Resource]) -> None:
    rules = [
        (policy["spec"]["podSelector"], peer["ipBlock"])
        for policy in of_kind(resources, "NetworkPolicy").values()
        for rule in policy["spec"].get("egress", [])
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    for name, template in pods(resources):
        assert {chosen(selector, template["metadata"]["labels"]) for selector, _ in rules} == {name == "worker"}
    closed = {network for _, block in rules for network in block["except"]}
    assert closed >= {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7"}
