"""deploy/kubernetes: the resources are valid, and agree with the code, the images and each other."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

import stack.setup.credentials as one_shot
from api_stub.config import ApiSettings
from crypto_updates.bus.config import BusSettings
from stack.check.target import CheckSettings
from stack.setup.config import CredentialSettings, ProvisionSettings
from stack.setup.users import ROLES
from tests import kubernetes
from tests.kubernetes import FOLDER, Resource, name_of, of_kind, pods
from tests.support import ROOT
from worker.config import WorkerSettings

# The oldest version that has all that is used (a sleep before the stop), and the newest with schemas.
VERSIONS = ("1.30", "1.37")
SETTINGS: dict[str, type[BusSettings]] = {
    "worker": WorkerSettings,
    "api-stub": ApiSettings,
    "provision": ProvisionSettings,
    "verify": CheckSettings,
}
SECRETS = "/run/secrets/"
# The image of each container, and the folder of its Dockerfile.
IMAGES = {
    "worker": ("crypto-updates/worker", "worker"),
    "api-stub": ("crypto-updates/api-stub", "api_stub"),
    "provision": ("crypto-updates/stack", "stack"),
    "verify": ("crypto-updates/stack", "stack"),
}


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return kubernetes.built()


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    return kubernetes.scaled(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """The Secrets, of credentials that were made in the folder as the page says."""
    folder = tmp_path_factory.mktemp("credentials")
    shutil.copy(FOLDER / "credentials" / "kustomization.yaml", folder)
    one_shot.write(CredentialSettings.load({"CREDENTIALS_DIR": str(folder), "SECRETS_DIR": str(folder / "none")}))
    return kubernetes.built(folder)


def violation(resource: Resource, version: str) -> str:
    """What the API's schema has against it, or nothing."""
    try:
        kubernetes_validate.validate(resource, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{error.json_path}: {error.message}"
    return ""


def own_kind(resource: Resource) -> bool:
    return bool(resource["kind"] == "MongoDBCommunity")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_keeps_to_the_schema_of_its_kind(
    version: str, scaled: list[Resource], secrets: list[Resource]
) -> None:
    checked = [part for part in (*scaled, *secrets) if not own_kind(part)]
    assert len(checked) > 20
    assert {name_of(part): found for part in checked if (found := violation(part, version))} == {}


def test_a_resource_with_a_mistake_does_not(resources: list[Resource]) -> None:
    for wrong in ({"replicas": "2"}, {"replica": 2}):
        part = of_kind(resources, "Deployment")["api-stub"]
        assert violation({**part, "spec": part["spec"] | wrong}, VERSIONS[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_replica_set_keeps_to_the_schemas_of_the_operator_and_of_its_stateful_set(
    version: str, resources: list[Resource]
) -> None:
    spec = of_kind(resources, "MongoDBCommunity")["mongo"]["spec"]
    schema = json.loads((Path(__file__).parent / "mongodbcommunity.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(spec, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**spec, "member": 3}, schema)
    head = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "mongo"}}
    made = {"selector": {}, "serviceName": "mongo-svc"}
    assert violation(head | {"spec": made | spec["statefulSet"]["spec"]}, version) == ""


def test_the_users_of_mongodb_have_the_rights_that_provision_gives_them_elsewhere(resources: list[Resource]) -> None:
    spec = of_kind(resources, "MongoDBCommunity")["mongo"]["spec"]
    given = {
        role["role"]: {item["resource"]["collection"]: item["actions"] for item in role["privileges"]}
        for role in spec["security"]["roles"]
    }
    assert given == ROLES
    databases = {item["resource"]["db"] for role in spec["security"]["roles"] for item in role["privileges"]}
    assert databases == {ProvisionSettings.model_fields["mongo_db"].default}
    assert {user["name"]: [role["name"] for role in user["roles"]] for user in spec["users"]} == {
        **{name: [name] for name in ROLES},
        "provision": ["dbAdmin"],
    }


def test_every_user_of_mongodb_has_a_password_of_its_own(resources: list[Resource], secrets: list[Resource]) -> None:
    users = of_kind(resources, "MongoDBCommunity")["mongo"]["spec"]["users"]
    data = of_kind(secrets, "Secret")
    given = [data[user["passwordSecretRef"]["name"]]["data"][user["passwordSecretRef"]["key"]] for user in users]
    assert len(set(given)) == len(users) == 4


def environment(name: str, template: Resource, resources: list[Resource]) -> dict[str, Any]:
    """The variables of a pod's container; one that comes from a Secret has no value here."""
    container = template["spec"]["containers"][0]
    maps = of_kind(resources, "ConfigMap")
    given = {}
    for source in container["envFrom"]:
        given |= maps[source["configMapRef"]["name"]]["data"]
    assert container["name"] == name
    return given | {item["name"]: item.get("value") for item in container["env"]}


def test_every_variable_is_one_that_a_service_reads_and_its_value_is_accepted(
    resources: list[Resource], tmp_path: Path
) -> None:
    for name, template in pods(resources):
        settings, given = SETTINGS[name], environment(name, template, resources)
        own = {item["name"] for item in template["spec"]["containers"][0]["env"]}
        assert {re.sub("_FILE$", "", variable).lower() for variable in own} <= settings.model_fields.keys()
        values = {key: value for key, value in given.items() if value and not value.startswith(SECRETS)}
        settings.load(values | ({"OUTBOX_DIR": str(tmp_path)} if "OUTBOX_DIR" in values else {}))
    names = {name.lower() for name in of_kind(resources, "ConfigMap")[settings_map(resources)]["data"]}
    assert names <= {field for one in SETTINGS.values() for field in one.model_fields}


def settings_map(resources: list[Resource]) -> str:
    return next(name for name in of_kind(resources, "ConfigMap") if name.startswith("settings-"))


def files(template: Resource, secrets: list[Resource]) -> set[str]:
    """What stands in /run/secrets: the keys of the Secrets, and of those that the operator makes, what is taken."""
    made = of_kind(secrets, "Secret")
    volume = next(one for one in template["spec"]["volumes"] if one["name"] == "secrets")
    if "secret" in volume:
        return set(made[volume["secret"]["secretName"]]["data"])
    found = set[str]()
    for source in (one["secret"] for one in volume["projected"]["sources"]):
        items = [item["path"] for item in source.get("items", [])]
        found |= set(items or made[source["name"]]["data"])
    return found


def test_every_password_comes_as_a_file_that_is_there(resources: list[Resource], secrets: list[Resource]) -> None:
    for name, template in pods(resources):
        given = environment(name, template, resources)
        wanted = {value.removeprefix(SECRETS) for key, value in given.items() if key.endswith("_FILE")}
        assert wanted
        assert wanted <= files(template, secrets)
        assert not any(value for key, value in given.items() if re.search("PASSWORD$|KEY$|MONGO.*URL$", key))


def test_the_operator_makes_the_secrets_that_the_pods_take_from_it(resources: list[Resource]) -> None:
    mongo = of_kind(resources, "MongoDBCommunity")["mongo"]
    made = {f"mongo-{user['db']}-{user['name']}" for user in mongo["spec"]["users"]}
    sources = [
        source["secret"]
        for _, template in pods(resources)
        for volume in template["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    assert {source["name"] for source in sources if "items" in source} == made


def test_the_services_of_nats_find_their_accounts_and_passwords(
    resources: list[Resource], secrets: list[Resource]
) -> None:
    values = kubernetes.values("nats.values.yaml")
    mounts = {patch["value"]["name"]: patch["value"]["mountPath"] for patch in values["container"]["patch"]}
    volumes = [patch["value"] for patch in values["podTemplate"]["patch"]]
    assert {volume["name"] for volume in volumes} == mounts.keys() == {"accounts", "users"}
    names = {volume["name"]: volume.get("configMap", volume.get("secret")) for volume in volumes}
    config = of_kind(resources, "ConfigMap")[names["accounts"]["name"]]["data"]
    users = of_kind(secrets, "Secret")[names["users"]["secretName"]]["data"]
    # Both includes are relative to the file that has them; the chart's own is /etc/nats-config/nats.conf.
    includes = [value for key, value in values["config"]["merge"].items() if key.endswith("$include")]
    assert [f"{mounts['accounts']}/{key}" for key in config] == [
        f"/etc/{path.removeprefix('../')}" for path in includes
    ]
    included = re.findall(r"^include (\S+)$", config["accounts.conf"], re.MULTILINE)
    assert [f"/{path.removeprefix('../../')}" for path in included] == [f"{mounts['users']}/users.conf"]
    assert "users.conf" in users


def test_the_servers_of_nats_know_each_other_by_a_password_of_the_secret(secrets: list[Resource]) -> None:
    values = kubernetes.values("nats.values.yaml")
    cluster, env = values["config"]["cluster"], values["container"]["env"]
    source = env["ROUTE"]["valueFrom"]["secretKeyRef"]
    assert source["key"] in of_kind(secrets, "Secret")[source["name"]]["data"]
    # A variable of nats-server has its value without the quotes that are needed around it.
    given = {f"<< ${name} >>": value.strip('"') for name, value in env.items() if name.startswith("ROUTE_")}
    login = cluster["merge"]["authorization"]
    assert (login["user"], given[login["password"]]) == ("route", "$(ROUTE)")
    servers = [f"nats://route:$(ROUTE)@nats-{number}.nats-headless:6222" for number in range(cluster["replicas"])]
    assert [(one["path"], [given[url] for url in one["value"]]) for one in cluster["patch"]] == [("/routes", servers)]


def test_the_services_know_each_server_of_nats_and_have_the_stream_copied_to_each(resources: list[Resource]) -> None:
    settings = of_kind(resources, "ConfigMap")[settings_map(resources)]["data"]
    cluster = kubernetes.values("nats.values.yaml")["config"]["cluster"]
    assert int(settings["STREAM_REPLICAS"]) == cluster["replicas"] == 3
    servers = [f"nats://nats-{number}.nats-headless:4222" for number in range(cluster["replicas"])]
    assert settings["NATS_URL"].split(",") == servers


def test_every_pod_has_its_image_and_the_user_of_its_dockerfile(resources: list[Resource]) -> None:
    for name, template in pods(resources):
        image, folder = IMAGES[name]
        assert template["spec"]["containers"][0]["image"].rpartition(":")[0] == image
        text = (ROOT / folder / "Dockerfile").read_text(encoding="utf-8")
        user = template["spec"]["securityContext"]["runAsUser"]
        assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == [f"{user}:{user}"]
