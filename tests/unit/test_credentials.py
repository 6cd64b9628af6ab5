"""The one-shot that makes the credentials: what it keeps, what it takes over, what it refuses."""

import argparse
import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import NoReturn

import bcrypt
import pytest

import stack.setup.credentials as one_shot
from crypto_updates.service.config import ConfigError
from stack.setup import vault
from stack.setup.config import CredentialSettings
from stack.setup.errors import SetupError
from stack.setup.passwords import NATS_USERS

FOLDERS = ("home", "nats", "mongo", "provision", "worker", "api_stub", "stack")
OWN = "a password of one's own"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(one_shot, "MONGOD_GID", -1)
    monkeypatch.setattr(vault, "BCRYPT_COST", 4)
    for name in FOLDERS:
        (tmp_path / "credentials" / name).mkdir(parents=True)
    return tmp_path / "credentials"


@pytest.fixture
def own(folder: Path) -> Path:
    """The folder where the user's own files are."""
    (path := folder.with_name("secrets")).mkdir()
    return path


def write(folder: Path, *, cluster: bool = False, **environ: str) -> dict[str, str]:
    """What stands in each file afterwards, by `service/name`."""
    folders = {"CREDENTIALS_DIR": str(folder), "SECRETS_DIR": str(folder.with_name("secrets"))}
    one_shot.write(CredentialSettings.load(folders | environ), cluster=cluster)
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_every_secret_is_random_and_none_is_made_twice(folder: Path) -> None:
    made = write(folder)
    secrets = [text for name, text in made.items() if name.startswith("home/") and not name.endswith(".bcrypt")]
    assert len(set(secrets)) == len(secrets) == 11
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets)
    assert write(folder) == made


def test_a_service_gets_what_it_needs_and_no_other_secret(folder: Path) -> None:
    made = write(folder)
    needed = {
        "worker": {"nats-worker"},
        "api_stub": {"nats-api_stub", "mongo-writer", "mongo-reader"},
        "provision": {"nats-provision", "mongo-key", "mongo-writer", "mongo-reader", "mongo-operator"},
        "stack": {"nats-operator", "nats-subscriber", "nats-consumer", "mongo-operator"},
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
    for user in NATS_USERS:
        found = re.search(rf'^{user.upper()}_HASH: "(.+)"$', made["nats/users.conf"], re.MULTILINE)
        assert found
        assert found[1].startswith("$2a$")
        assert bcrypt.checkpw(made[f"home/nats-{user}"].encode(), found[1].encode())


def test_a_password_of_ones_own_takes_the_place_of_the_one_made_and_stays(folder: Path, own: Path) -> None:
    before = write(folder)
    (own / "nats-worker").write_text("\ufeff" + OWN + "\r\n")
    (own / "mongo-reader").write_text("p@ss:word/of one's own")
    after = write(folder)
    assert after["worker/nats-password"] == OWN
    assert after["nats/users.conf"] != before["nats/users.conf"]
    assert "//reader:p%40ss%3Aword%2Fof+one%27s+own@mongo:27017/" in after["api_stub/mongo-reader-url"]
    assert after["api_stub/nats-password"] == before["api_stub/nats-password"]
    for name in ("nats-worker", "mongo-reader"):
        (own / name).unlink()
    assert write(folder) == after


BAD = [
    b"",
    b"too short",
    b"x" * 73,
    "ü".encode() * 37,
    b"with a\nnew line in it",
    b"\xff\xfe" + OWN.encode("utf-16-le"),
]


@pytest.mark.parametrize("password", BAD, ids=["empty", "short", "long", "many bytes", "two lines", "UTF-16"])
def test_a_password_that_cannot_be_used_is_named_and_not_shown(folder: Path, own: Path, password: bytes) -> None:
    (own / "nats-worker").write_bytes(password)
    with pytest.raises(ConfigError) as refused:
        write(folder)
    problem = r"\d+ characters, \d+ bytes|line 1: not UTF-8"
    accepted = "16 or more printable characters, 72 bytes at most"
    assert re.match(rf"{own}/nats-worker: ({problem}); accepted: {accepted}", str(refused.value))
    assert not password or password.decode(errors="replace") not in str(refused.value)
    assert contents(folder) == {}


@pytest.mark.parametrize("size", [16, 72])
def test_the_shortest_and_the_longest_password_are_taken(folder: Path, own: Path, size: int) -> None:
    (own / "nats-worker").write_text("x" * size)
    assert write(folder)["worker/nats-password"] == "x" * size


def test_all_files_that_cannot_be_used_are_told_together(folder: Path, own: Path) -> None:
    (own / "nats-worker").write_text("short")
    (own / "mongo-writer").mkdir()
    (own / "mongo-reader").symlink_to("nowhere")
    with pytest.raises(ConfigError) as refused:
        write(folder, TLS="on")
    told = [re.match(rf"{own}/([^:]+): ", line) for line in str(refused.value).splitlines()]
    names = ["nats-worker", "mongo-writer", "mongo-reader", "ca.pem", "nats.pem", "mongo.pem"]
    assert [line and line[1] for line in told] == names


def deny(path: Path) -> NoReturn:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_a_password_that_may_not_be_read_comes_with_the_way_out(
    folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes
    (own / "nats-worker").write_text(OWN)
    monkeypatch.setattr(Path, "read_bytes", lambda path: deny(path) if path.parent == own else read(path))
    with pytest.raises(ConfigError, match=rf"Permission denied; .* that user {os.getuid()} can read \(chmod 644\)"):
        write(folder)


def test_a_folder_that_may_not_be_read_is_told_and_the_passwords_are_made(
    folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Path, "iterdir", deny)
    one_shot.write(CredentialSettings.load({"CREDENTIALS_DIR": str(folder), "SECRETS_DIR": str(own)}))
    assert (folder / "worker" / "nats-password").read_text()
    assert f"{own}: Permission denied; its files are not used (chmod 755 {own})" in caplog.text


def test_a_file_with_a_name_that_nobody_reads_is_told(
    folder: Path, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strangers = ["nats-wroker", "NATS_WORKER", "nats-worker.txt", "operator", "mongo-key"]
    for name in (*strangers, "nats-worker", "nats.pem", "coingecko-api-key", ".gitignore", "README.md"):
        (own / name).write_text(OWN)
    write(folder)
    told = [record.getMessage() for record in caplog.records]
    assert [line.split()[1] for line in told] == [str(own / name) for name in sorted(strangers)]
    assert "is not used; accepted names: nats-provision, nats-operator, nats-worker, " in told[0]


def test_bad_passwords_end_the_one_shot_with_status_2(
    folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "nats-worker").write_text("hunter2")
    monkeypatch.setenv("CREDENTIALS_DIR", str(folder))
    monkeypatch.setenv("SECRETS_DIR", str(own))
    assert one_shot.run(argparse.ArgumentParser(), []) == 2
    output = capsys.readouterr()
    assert f"{own}/nats-worker: 7 characters" in output.err
    assert "hunter2" not in output.err + output.out


def test_the_market_key_goes_to_the_worker_only(folder: Path) -> None:
    made = write(folder, COINGECKO_API_KEY="CG-secret")
    assert [name for name, text in made.items() if text == "CG-secret"] == ["worker/coingecko-api-key"]


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


@pytest.mark.parametrize("subject", ["", "own.subject", 'it\'s"quoted"'])
def test_nats_knows_the_subject_of_the_trigger(folder: Path, subject: str) -> None:
    made = write(folder, TRIGGER_SUBJECT=subject)["nats/users.conf"]
    assert f"\nTRIGGER_SUBJECT: {json.dumps(subject or 'crypto.update')}\n" in made


def test_nobody_enters_without_a_login_unless_that_is_wanted(folder: Path) -> None:
    assert "\nANONYMOUS_USERS: []\n" in write(folder)["nats/users.conf"]
    assert "no_auth_user" not in write(folder)["nats/users.conf"]
    assert '\nno_auth_user: "anonymous"\n' in write(folder, NATS_ANONYMOUS="on")["nats/users.conf"]


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("NATS_ANONYMOUS", "yes", "on, or nothing"),
        ("TRIGGER_SUBJECT", "crypto.>", "a subject of its own without wildcards, for example crypto.update"),
    ],
)
def test_a_bad_value_is_told_before_nats_reads_it(variable: str, value: str, accepted: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}={value}: accepted: {accepted}$"):
        CredentialSettings.load({variable: value})


def test_tls_is_on_or_not_given() -> None:
    with pytest.raises(ConfigError, match="TLS=off: accepted: on, or nothing"):
        CredentialSettings.load({"TLS": "off"})


def test_tls_without_certificates_names_the_file_that_is_missing(folder: Path, own: Path) -> None:
    for name in ("nats", "mongo"):
        (own / f"{name}.pem").write_text(name)
    with pytest.raises(
        ConfigError, match=rf"^{own}/ca\.pem: No such file .*; accepted: with TLS=on, a PEM file[^\n]*$"
    ):
        write(folder, TLS="on")


def test_tls_gives_each_server_its_own_certificate_and_everybody_the_ca(folder: Path, own: Path) -> None:
    for name in ("ca", "nats", "mongo"):
        (own / f"{name}.pem").write_text(name)
    made = write(folder, TLS="on")
    assert (made["nats/server.pem"], made["mongo/server.pem"]) == ("nats", "mongo")
    assert {made[f"{name}/ca.pem"] for name in ("worker", "api_stub", "provision", "stack", "mongo", "nats")} == {"ca"}
    assert "\ntls: {" in made["nats/users.conf"]
    assert '"requireTLS"' in made["mongo/mongod.conf"]
    assert made["api_stub/mongo-url"].endswith("&tls=true&tlsCAFile=/run/secrets/ca.pem")


def test_a_folder_that_is_not_there_is_made_for_its_owner_alone(folder: Path) -> None:
    (folder / "worker").rmdir()
    assert "worker/nats-password" in write(folder)
    assert stat.S_IMODE((folder / "worker").stat().st_mode) == 0o700


@pytest.mark.parametrize(("user", "groups", "given"), [(0, [], 999), (1000, [999], 999), (1000, [1000], -1)])
def test_the_files_of_mongod_go_to_its_group_where_this_user_may_give_them(
    monkeypatch: pytest.MonkeyPatch, folder: Path, user: int, groups: list[int], given: int
) -> None:
    asked = dict[Path, int]()
    monkeypatch.setattr(one_shot, "MONGOD_GID", 999)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    monkeypatch.setattr(one_shot, "put", lambda path, _, group: asked.update({path: group}))
    write(folder)
    assert {path.name: group for path, group in asked.items() if path.parent.name == "mongo"} == {
        "key": given,
        "mongod.conf": given,
    }


def test_a_cluster_has_routes_with_a_password_that_only_the_nats_servers_have(folder: Path) -> None:
    assert "cluster:" not in write(folder)["nats/users.conf"]
    made = write(folder, cluster=True)
    password = made["home/nats-route"]
    routes = [f"nats-route://route:{password}@{server}:6222" for server in ("nats", "nats2", "nats3")]
    found = re.search("^cluster: (.+)$", made["nats/users.conf"], re.MULTILINE)
    assert found
    cluster = json.loads(found[1])
    assert (cluster["authorization"], cluster["routes"]) == ({"user": "route", "password": password}, routes)
    assert "tls" not in cluster
    assert {name for name, text in made.items() if password in text} == {"home/nats-route", "nats/users.conf"}
    assert write(folder, cluster=True) == made


def test_a_password_of_ones_own_for_the_routes_is_encoded_in_their_urls(folder: Path, own: Path) -> None:
    (own / "nats-route").write_text("p@ss:word/of one's own")
    assert "//route:p%40ss%3Aword%2Fof%20one%27s%20own@nats2:6222" in write(folder, cluster=True)["nats/users.conf"]


def test_in_a_cluster_everybody_knows_all_members_and_alone_only_the_first(folder: Path) -> None:
    alone, cluster = write(folder), write(folder, cluster=True)
    for name in ("provision/mongo-url", "api_stub/mongo-url", "api_stub/mongo-reader-url", "stack/mongo-url"):
        assert "@mongo:27017/?" in alone[name]
        assert "@mongo:27017,mongo2:27017,mongo3:27017/?" in cluster[name]


def test_with_tls_the_nats_servers_of_a_cluster_show_each_other_their_certificates(folder: Path, own: Path) -> None:
    for name in ("ca", "nats", "mongo"):
        (own / f"{name}.pem").write_text(name)
    made = write(folder, TLS="on", cluster=True)
    assert made["nats/ca.pem"] == "ca"
    found = re.search('^cluster: .*"tls": ({.+?})', made["nats/users.conf"], re.MULTILINE)
    assert found
    assert json.loads(found[1])["ca_file"] == "/run/secrets/ca.pem"


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "worker").rmdir()
    (folder / "worker").touch()
    with pytest.raises(SetupError, match=re.escape(f"{folder}/worker/nats-password: ")):
        write(folder)


def test_what_cannot_be_read_again_is_named(folder: Path) -> None:
    (folder / "home" / "nats-worker").mkdir()
    with pytest.raises(SetupError, match=re.escape(f"{folder}/home/nats-worker: ")):
        write(folder)
