import pytest

from crypto_updates.harness.verdict.candidate import Candidate

SLOT = "2026-01-01T00:00:00Z"
STAMPED = '{ "event":"X", "timestamp":"2023-11-21T14:30:00Z" }'


@pytest.mark.parametrize(
    ("body", "sent", "has_identity"),
    [
        (None, None, True),
        ('{"trigger":"update"}', b'{"trigger":"update"}', False),
        (STAMPED, STAMPED.replace("2023-11-21T14:30:00Z", SLOT).encode(), True),
        ("", b"", False),
        ("update", b"update", False),
        ("[1]", b"[1]", False),
        ('{"timestamp":5}', b'{"timestamp":5}', False),
    ],
)
def test_a_body_is_sent_byte_for_byte_but_for_its_timestamp(
    body: str | None,
    sent: bytes | None,
    has_identity: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    candidate = Candidate(["node"], "crypto.update", body=body)
    assert (candidate.event(SLOT), candidate.has_identity) == (sent, has_identity)


def test_a_variable_may_name_those_of_the_harness() -> None:
    candidate = Candidate(["node"], "crypto.update", environ={"BROKER": "{NATS_URL}/x", "JSON": '{"a":1} {NONE}'})
    assert candidate.variables({"NATS_URL": "nats://a"}) == {"BROKER": "nats://a/x", "JSON": '{"a":1} {NONE}'}
