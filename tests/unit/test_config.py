"""The settings that both services share: where values come from, and how bad values are reported."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from crypto_updates.bus.config import BusSettings
from crypto_updates.service.config import ConfigError, redacted
from tests.support import ROOT

Write = Callable[[bytes], str]

LICENSE = str(ROOT / "LICENSE")
URLS = "accepted: nats://host:4222 or tls://host:4222, several separated by commas"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a secret's file, and returns its path."""

    def written(content: bytes) -> str:
        path = tmp_path / "secret"
        path.write_bytes(content)
        return str(path)

    return written


def problems(**env: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        BusSettings.load(env)
    return str(raised.value).splitlines()


def test_the_defaults_are_those_of_the_design() -> None:
    assert BusSettings.load({}).model_dump() == {
        "nats_url": ("nats://localhost:4222",),
        "nats_user": None,
        "nats_password": None,
        "nats_token": None,
        "nats_creds": None,
        "nats_ca": None,
        "nats_inbox_prefix": "_INBOX",
        "nats_api_prefix": "$JS.API",
        "log_level": "info",
        "log_format": "text",
        "delivery": "auto",
        "stream_replicas": 1,
    }


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("nats://one:4222", ("nats://one:4222",)),
        ("nats://one, tls://two:5222 ,,", ("nats://one:4222", "tls://two:5222")),
        ("nats://user:word@one/", ("nats://user:word@one:4222",)),
        ("nats://[::1]", ("nats://[::1]:4222",)),
    ],
)
def test_it_reads_a_list_of_servers_and_adds_the_port(urls: str, expected: tuple[str, ...]) -> None:
    assert BusSettings.load({"NATS_URL": urls}).nats_url == expected


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("NATS_URL", "localhost:4222", f"NATS_URL=localhost:4222: {URLS}"),
        ("NATS_URL", "http://one", f"NATS_URL=http://one: {URLS}"),
        ("NATS_URL", "nats://one,nats://", f"NATS_URL=nats://one,nats://: {URLS}"),
        ("NATS_URL", " , ", f"NATS_URL= , : {URLS}"),
        ("NATS_URL", "nats://one:99999", f"NATS_URL=nats://one:99999: {URLS}"),
        ("NATS_URL", "nats://[::1", f"NATS_URL=nats://[::1: {URLS}"),
        ("NATS_URL", "nats://one:0", f"NATS_URL=nats://one:0: {URLS}"),
        ("NATS_URL", "nats://one/path", f"NATS_URL=nats://one/path: {URLS}"),
        ("NATS_URL", "nats://u:2024#secret@one", f"NATS_URL=nats://***@one: {URLS}"),
        ("NATS_URL", "nats://u:2024?secret@one", f"NATS_URL=nats://***@one: {URLS}"),
        ("NATS_URL", "nats://one:4222?tls=true", f"NATS_URL=nats://one:4222?tls=true: {URLS}"),
        ("NATS_URL", "nats://u:%ff@one", f"NATS_URL=nats://***@one: {URLS}"),
        ("NATS_CA", "/no/such", "NATS_CA=/no/such: accepted: the path of a PEM file"),
        ("NATS_CA", LICENSE, f"NATS_CA={LICENSE}: no PEM certificate is in it; accepted: the path of a PEM file"),
        (
            "NATS_CREDS",
            LICENSE,
            f"NATS_CREDS={LICENSE}: no line with BEGIN NATS USER JWT is in it; accepted: the path of a .creds file",
        ),
        (
            "NATS_INBOX_PREFIX",
            "_INBOX.>",
            "NATS_INBOX_PREFIX=_INBOX.>: accepted: a subject without wildcards, for example _INBOX_worker",
        ),
        ("NATS_CREDS", "/no/such", "NATS_CREDS=/no/such: accepted: the path of a .creds file"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL=loud: accepted: debug, info, warning or error"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT=xml: accepted: text or json"),
        ("DELIVERY", "post", "DELIVERY=post: accepted: auto, jetstream or core"),
        ("STREAM_REPLICAS", "0", "STREAM_REPLICAS=0: accepted: a whole number from 1 to 5"),
        ("STREAM_REPLICAS", "2.5", "STREAM_REPLICAS=2.5: accepted: a whole number from 1 to 5"),
    ],
)
def test_a_bad_value_is_told_with_its_variable_and_what_is_accepted(variable: str, value: str, line: str) -> None:
    assert problems(**{variable: value}) == [line]


def test_all_bad_values_are_told_together(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    lines = problems(LOG_LEVEL="loud", NATS_TOKEN_FILE=missing, DELIVERY="post", NATS_URL="one", NATS_USER="fine")
    assert [line.partition("=")[0] for line in lines] == ["NATS_TOKEN_FILE", "LOG_LEVEL", "NATS_URL", "DELIVERY"]


@pytest.mark.parametrize(
    "variable", [n.upper() for n, info in BusSettings.model_fields.items() if info.default is None]
)
def test_an_empty_variable_is_an_absent_one_where_nothing_is_the_default(variable: str) -> None:
    assert BusSettings.load({variable: "", f"{variable}_FILE": ""}) == BusSettings.load({})


def test_it_reads_a_secret_from_the_file_named(write: Write) -> None:
    settings = BusSettings.load({"NATS_PASSWORD_FILE": write(b"p\xc3\xa4ss word\n"), "NATS_PASSWORD": ""})
    assert settings.nats_password == SecretStr("päss word")


def test_any_variable_may_come_from_a_file(write: Write) -> None:
    assert BusSettings.load({"NATS_URL_FILE": write(b"nats://one\n")}).nats_url == ("nats://one:4222",)


def test_a_variable_that_is_not_utf_8_is_told_and_not_shown() -> None:
    given = b"hunter2\xe9".decode(errors="surrogateescape")  # as os.environ has it
    lines = problems(NATS_PASSWORD=given, NATS_USER=given, NATS_TOKEN="fine")
    assert lines == ["NATS_USER: not UTF-8; accepted: UTF-8", "NATS_PASSWORD: not UTF-8; accepted: UTF-8"]


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_value_wholly_in_quotes_is_unquoted(quote: str, write: Write) -> None:
    given = {
        "NATS_API_PREFIX": "$JS.API",
        "NATS_URL": "nats://one:4222,nats://two:4222",
        "NATS_PASSWORD_FILE": write(b"s3cret"),
        "NATS_TOKEN": "token",
        "NATS_CA": "",
        "LOG_LEVEL": "debug",
    }
    quoted = {name: f"{quote}{value}{quote}" for name, value in given.items()}
    assert BusSettings.load(quoted) == BusSettings.load(given)


def test_a_password_with_quotes_around_it_comes_from_a_file_or_in_quotes_of_its_own(write: Write) -> None:
    wanted = SecretStr("'pass'")
    assert BusSettings.load({"NATS_PASSWORD_FILE": write(b"'pass'")}).nats_password == wanted
    assert BusSettings.load({"NATS_PASSWORD": "\"'pass'\""}).nats_password == wanted
    assert BusSettings.load({"NATS_PASSWORD": "'pass\""}).nats_password == SecretStr("'pass\"")


def test_it_refuses_a_secret_given_twice(write: Write) -> None:
    assert problems(NATS_TOKEN="one", NATS_TOKEN_FILE=write(b"two")) == [
        "NATS_TOKEN: given twice; accepted: either NATS_TOKEN or NATS_TOKEN_FILE"
    ]


def test_a_byte_order_mark_is_no_part_of_a_secret(write: Write) -> None:
    assert BusSettings.load({"NATS_TOKEN_FILE": write(b"\xef\xbb\xbfp\xc3\xa4ss\r\n")}).nats_token == SecretStr("päss")


@pytest.mark.parametrize("content", [b"\xff\xfe", "päss".encode("utf-16"), "pass".encode("utf-16-be"), b"p\xe4ss"])
def test_it_names_a_secret_file_that_is_not_utf_8_and_shows_nothing_of_it(write: Write, content: bytes) -> None:
    (line,) = problems(NATS_PASSWORD_FILE=(path := write(content)))
    assert re.fullmatch(
        rf"NATS_PASSWORD_FILE={path}: line 1: .*not UTF-8; accepted: the path of a readable UTF-8 file", line
    )


def test_it_names_a_secret_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (str(tmp_path / "missing"), str(tmp_path)):
        (line,) = problems(NATS_PASSWORD_FILE=path)
        assert line.startswith(f"NATS_PASSWORD_FILE={path}: ")
        assert line.endswith("; accepted: the path of a readable UTF-8 file")


def test_a_password_is_in_no_error_line(write: Write) -> None:
    urls = "http://user:hunter2@one,nats://user:hunter2@two,nats://hunter2@three"
    for lines in (problems(NATS_URL=urls), problems(NATS_URL_FILE=write(urls.encode()))):
        assert lines == [f"NATS_URL=http://***@one,nats://***@two,nats://***@three: {URLS}"]
    assert problems(NATS_URL="nats://user:hunt/er2@one:x") == [f"NATS_URL=nats://***@one:x: {URLS}"]
    secrets = {"NATS_PASSWORD": "hunter2", "NATS_TOKEN": "hunter2", "NATS_TOKEN_FILE": write(b"hunter2")}
    assert "hunter2" not in "\n".join(problems(**secrets, LOG_LEVEL="loud"))


def test_a_password_is_in_no_text_of_the_settings() -> None:
    settings = BusSettings.load(
        {"NATS_PASSWORD": "hunter2", "NATS_TOKEN": "hunter2", "NATS_URL": "nats://u:hunter2@one"}
    )
    assert "hunter2" not in repr(settings) + str(settings)


def test_the_servers_are_told_without_their_passwords() -> None:
    settings = BusSettings.load({"NATS_URL": "nats://user:hunter2@one,tls://hunter2@two:5222,nats://three"})
    assert settings.servers == "nats://***@one:4222, tls://***@two:5222, nats://three:4222"


@pytest.mark.parametrize(
    ("given", "user", "password", "token"),
    [
        ({"NATS_URL": "nats://w:p%40ss%2Fw%23rd@one"}, "w", "p@ss/w#rd", None),
        ({"NATS_URL": "nats://w%3A1:%C3%A4%2525@one"}, "w:1", "ä%25", None),
        ({"NATS_URL": "nats://w:100%sure+@one"}, "w", "100%sure+", None),
        ({"NATS_URL": "nats://t%40ken@one"}, None, None, "t@ken"),
        ({"NATS_URL": "nats://w@one", "NATS_PASSWORD": "p%40"}, "w", "p%40", None),
        ({"NATS_URL": "nats://w:p@one", "NATS_USER": "u", "NATS_PASSWORD": "q"}, "u", "q", None),
        ({"NATS_URL": "nats://w:p@one", "NATS_TOKEN": "t%40"}, None, None, "t%40"),
        ({"NATS_URL": "nats://one", "NATS_USER": "u", "NATS_PASSWORD": "q"}, "u", "q", None),
        ({"NATS_URL": "nats://one"}, None, None, None),
    ],
)
def test_it_logs_in_with_what_the_url_says_decoded(
    given: dict[str, str], user: str | None, password: str | None, token: str | None
) -> None:
    settings = BusSettings.load(given)
    assert settings.login(settings.nats_url[0]) == ("nats://one:4222", user, password, token)


def test_each_server_has_the_login_of_its_own_url() -> None:
    settings = BusSettings.load({"NATS_URL": "nats://a:%41@one,tls://%62@[::1]:5222"})
    assert [settings.login(url) for url in settings.nats_url] == [
        ("nats://one:4222", "a", "A", None),
        ("tls://[::1]:5222", None, None, "b"),
    ]


@pytest.mark.parametrize("url", ["tls://one", "nats://one,tls://two"])
def test_a_bad_file_of_the_system_s_certificates_is_told_where_tls_needs_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    assert problems(NATS_URL=url) == [
        "NATS_CA=: SSL_CERT_FILE=/no/such.pem: No such file or directory; accepted: the path of a PEM file"
    ]
    assert BusSettings.load({"NATS_URL": "nats://one"}).nats_ca is None


def test_a_key_log_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/no/such/log")
    assert problems(NATS_URL="tls://one") == [
        "NATS_CA=: SSLKEYLOGFILE=/no/such/log: No such file or directory; accepted: the path of a PEM file"
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://one:4222", "nats://one:4222"),
        ("mongodb://user:hun@ter2@one,two/base", "mongodb://***@one,two/base"),
        ("nats://a:b@one,nats://c:d@two", "nats://***@one,nats://***@two"),
        ("nats://user:hun/ter2@one", "nats://***@one"),
        ("user:hunter2@one", "***@one"),
        ("mongodb:/user:hunter2@one", "***@one"),
        (
            "mongodb://one/?tlsCertificateKeyFilePassword=hunter2&w=1",
            "mongodb://one/?tlsCertificateKeyFilePassword=***&w=1",
        ),
        ("https://one/v3?x_cg_demo_api_key=hunter2", "https://one/v3?x_cg_demo_api_key=***"),
        ("nats://user:hun\nter2@one", "nats://***@one"),
        ("nats://user:hunter2://x@one, nats://two", "nats://***@one, nats://two"),
    ],
)
def test_a_url_is_told_without_user_and_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_the_process_wins_over_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("NATS_USER=of-the-file\nNATS_URL=nats://of-the-file # a comment\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NATS_USER", "of-the-process")
    monkeypatch.delenv("NATS_URL", raising=False)
    settings = BusSettings.load()
    assert (settings.nats_user, settings.nats_url) == ("of-the-process", ("nats://of-the-file:4222",))


def test_a_bad_env_file_is_told_together_with_the_bad_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("NATS_USER='literal${HOME}'\nLOG_FORMAT=\"text\nLOG_LEVEL=loud\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        BusSettings.load()
    first, second = str(raised.value).splitlines()
    assert first.startswith("`.env` line 2: a quote is not closed")
    assert second == "LOG_LEVEL=loud: accepted: debug, info, warning or error"


def test_single_quotes_in_the_env_file_are_literal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("NATS_PASSWORD='pa${HOME}ss'\nNATS_TOKEN=\"'quoted'\"\n")
    monkeypatch.chdir(tmp_path)
    settings = BusSettings.load()
    assert (settings.nats_password, settings.nats_token) == (SecretStr("pa${HOME}ss"), SecretStr("'quoted'"))


def test_the_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        BusSettings.load({}).log_level = "debug"
