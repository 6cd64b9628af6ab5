"""Which variables are taken for misspelt ones of ours."""

import re

import pytest

from crypto_updates.service.lookalike import FILE_CUTOFF, NAMES, PROCESS_CUTOFF, warnings
from tests.support import ROOT

# What a shell, a CI system, a container, a Kubernetes pod and other programs set.
ORDINARY = """
    PATH HOME USER LOGNAME HOST HOSTNAME PORT TZ LANG TERM SHELL PWD MAIL EDITOR DISPLAY XDG_DATA_DIRS SSH_AUTH_SOCK
    HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy SSL_CERT_FILE SSL_CERT_DIR
    CI CI_JOB_URL CI_API_V4_URL CI_SERVER_HOST CI_SERVER_PORT CI_REGISTRY_PASSWORD GITHUB_API_URL GITHUB_SERVER_URL
    GITHUB_TOKEN RUNNER_NAME JENKINS_URL BUILD_URL JOB_URL GIT_URL DATABASE_URL REDIS_URL AMQP_URL BASE_URL APP_URL
    APP_PORT API_KEY API_HOST API_PORT API_TOKEN POSTGRES_USER POSTGRES_PASSWORD MYSQL_PASSWORD SMTP_HOST SMTP_PORT
    MAIL_HOST EMAIL_HOST LOG_DIR LOG_FILE LEVEL FORMAT SEED RATE USERNAME PASSWORD TOKEN PYTHONPATH WEB_CONCURRENCY
    KUBERNETES_SERVICE_HOST NATS_SERVICE_HOST NATS_SERVICE_PORT NATS_PORT_4222_TCP NATS_PORT_4222_TCP_ADDR
    MONGO_SERVICE_HOST MONGO_PORT_27017_TCP_PORT API_STUB_PORT WORKER_SERVICE_HOST NATS_CONTEXT NATS_COLOR
    MONGO_INITDB_ROOT_PASSWORD MONGO_VERSION MONGO_MAJOR HTTP_ACCEPT HTTP_USER_AGENT HTTPS COMPOSE_PROJECT_NAME
    OTEL_SERVICE_NAME OTEL_EXPORTER_OTLP_TIMEOUT OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_LOGS_EXPORTER
    OTEL_TRACES_SAMPLER
"""


def test_it_knows_the_variables_of_the_example() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^#([A-Z][A-Z0-9_]+)=", example, re.MULTILINE)) == NAMES


def test_ordinary_variables_and_our_own_are_not_warned_about() -> None:
    own = [*NAMES, *(f"{name}_FILE" for name in NAMES)]
    for cutoff in (PROCESS_CUTOFF, FILE_CUTOFF):
        assert warnings([*ORDINARY.split(), *own], cutoff) == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("MONGO_URI", "MONGO_URL"),
        ("MONGODB_URI", "MONGO_URL"),
        ("NATS_CREDENTIALS", "NATS_CREDS"),
        ("NATS_SERVER", "NATS_URL"),
        ("NATS_HOST", "NATS_URL"),
        ("NATSURL", "NATS_URL"),
        ("nats_url", "NATS_URL"),
        ("NATS_PASS", "NATS_PASSWORD"),
        ("NATS_PWD_FILE", "NATS_PASSWORD_FILE"),
        ("NATS_USERNAME", "NATS_USER"),
        ("MONGO_DATABASE", "MONGO_DB"),
        ("CRON", "SCHEDULE"),
        ("SHEDULE", "SCHEDULE"),
        ("SCHEDULE_TIMEZONE", "SCHEDULE_TZ"),
        ("CRON_TZ", "SCHEDULE_TZ"),
        ("COIN", "COINS"),
        ("COINGECKO_KEY", "COINGECKO_API_KEY"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("HTTP_PROT", "HTTP_PORT"),
        ("MISSED_SLOT", "MISSED_SLOTS"),
        ("STREAM_REPLICA", "STREAM_REPLICAS"),
    ],
)
def test_a_name_near_to_ours_is_told_with_the_nearest(name: str, near: str) -> None:
    assert warnings([name], PROCESS_CUTOFF) == [f"{name} is not read by Crypto Updates: the nearest name is {near}"]


def test_a_dotenv_is_looked_at_more_strictly() -> None:
    assert warnings(["LOG_FMT"], PROCESS_CUTOFF) == []
    assert warnings(["LOG_FMT"], FILE_CUTOFF) == [
        "LOG_FMT is not read by Crypto Updates: the nearest name is LOG_FORMAT"
    ]


def test_a_subject_is_told_to_be_fixed() -> None:
    assert warnings(["SUBJECT"], PROCESS_CUTOFF) == [
        "SUBJECT is not read by Crypto Updates: the subject is always crypto.updates; TRIGGER_SUBJECT adds another"
    ]
