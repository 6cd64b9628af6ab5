"""The one-shot that makes the credentials: what it keeps, what it takes over, what it refuses."""

import re
import stat
from pathlib import Path

import bcrypt
import pytest

import stack.setup.credentials as one_shot
from crypto_updates.service.config import ConfigError
from stack.setup import vault
from stack.setup.config import CredentialSettings
from stack.setup.errors import CredentialError

FOLDERS = ("home", "nats", "mongo", "provision", "worker", "api_stub", "stack")
OWN = "a password of one's own"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(one_shot, "MONGOD", -1)
    monkeypatch.setattr(vault, "COST", 4)
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    return tmp_path


def write(folder: Path, **environ: str) -> dict[str, str]:
    """What stands in each file afterwards, by `service/name`."""
    one_shot.write(CredentialSettings.load({"CREDENTIALS_DIR": str(folder), **environ}))
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_every_secret_is_random_and_none_is_made_twice(folder: Path) -> None:
    made = write(folder)
    secrets = [text for name, text in made.items() if name.startswith("home/") and not name.endswith(".bcrypt")]
    assert len(set(secrets)) == len(secrets) == 9
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets)
    assert write(folder) == made


def test_a_service_gets_what_it_needs_and_no_other_secret(folder: Path) -> None:
    made = write(folder)
    needed = {
        "worker": {"nats-worker"},
        "api_stub": {"nats-api_stub", "mongo-writer", "mongo-reader"},
        "provision": {"nats-provision", "mongo-key", "mongo-writer", "mongo-reader", "mongo-operator"},
        "stack": {"nats-operator", "nats-subscriber", "mongo-operator"},
        "mongo": {"mongo-key"},
        "nats": set(),
    }
    secrets = {name.removeprefix("home/"): text for name, text in made.items() if name.startswith("home/")}
    for service, names in needed.items():
        told = "".join(text for name, text in made.items() if name.startswith(f"{service}/"))
        assert {name for name, secret in secrets.items() if ".bcrypt" not in name and secret in told} == names


def test_only_the_owner_and_one_group_may_read_a_secret(folder: Path) -> None:
    write(folder)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o440}


def test_the_servers_know_the_passwords_as_hashes_only(folder: Path) -> None:
    made = write(folder)
    for user in one_shot.NATS:
        found = re.search(rf'^{user.upper()}_HASH: "(.+)"$', made["nats/users.conf"], re.MULTILINE)
        assert found
        assert found[1].startswith("$2a$")
        assert bcrypt.checkpw(made[f"home/nats-{user}"].encode(), found[1].encode())


def test_a_password_of_ones_own_takes_the_place_of_the_one_made_and_stays(folder: Path, tmp_path: Path) -> None:
    before = write(folder)
    (own := tmp_path / "own").write_text(OWN + "\n")
    after = write(folder, NATS_WORKER_PASSWORD_FILE=str(own), MONGO_READER_PASSWORD="p@ss:word/of one's own")
    assert after["worker/nats-password"] == OWN
    assert after["nats/users.conf"] != before["nats/users.conf"]
    assert "//reader:p%40ss%3Aword%2Fof+one%27s+own@mongo:27017/" in after["api_stub/mongo-reader-url"]
    assert after["api_stub/nats-password"] == before["api_stub/nats-password"]
    again = write(folder)
    assert {name: text for name, text in again.items() if name != "own"} == {
        name: text for name, text in after.items() if name != "own"
    }


@pytest.mark.parametrize("password", ["short", "x" * 73, "with a\nnew line in it"])
def test_a_password_that_cannot_be_used_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(ConfigError) as refused:
        CredentialSettings.load({"NATS_WORKER_PASSWORD": password})
    assert str(refused.value) == "NATS_WORKER_PASSWORD=***: accepted: 16 to 72 printable characters"


def test_a_start_that_was_killed_anywhere_is_completed_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the first write, the second, and so on, each time right before the file gets its name."""
    replace, allowed, secrets = Path.replace, 0, dict[str, str]()

    def dying(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", dying)
    while True:
        left = allowed = allowed + 1
        try:
            made = write(folder)
            break
        except KeyboardInterrupt:
            kept = {name: text for name, text in contents(folder).items() if "/." not in name}
            assert all(kept.values())
            assert secrets.items() <= kept.items()
            secrets = kept
    assert allowed > 3
    assert secrets.items() <= made.items()


def test_tls_without_certificates_names_the_file_that_is_missing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match=r"TLS=on, and .*/ca\.pem: .* accepted: a PEM file"):
        write(folder, TLS="on", TLS_DIR=str(tmp_path))
    with pytest.raises(ConfigError, match="TLS=off: accepted: on, or nothing"):
        CredentialSettings.load({"TLS": "off"})


def test_tls_gives_each_server_its_own_certificate_and_everybody_the_ca(folder: Path, tmp_path: Path) -> None:
    for name in ("ca", "nats", "mongo"):
        (tmp_path / f"{name}.pem").write_text(name)
    made = write(folder, TLS="on", TLS_DIR=str(tmp_path))
    assert (made["nats/server.pem"], made["mongo/server.pem"]) == ("nats", "mongo")
    assert {made[f"{name}/ca.pem"] for name in ("worker", "api_stub", "provision", "stack", "mongo")} == {"ca"}
    assert "tls {" in made["nats/users.conf"]
    assert '"requireTLS"' in made["mongo/mongod.conf"]
    assert made["api_stub/mongo-url"].endswith("&tls=true&tlsCAFile=/run/secrets/ca.pem")


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "worker").rmdir()
    with pytest.raises(CredentialError, match=re.escape(f"{folder}/worker/nats-password: ")):
        write(folder)
