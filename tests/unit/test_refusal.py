"""What the answers of JetStream mean: a definite refusal, a lack that passes, or no JetStream."""

import pytest
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServerError, ServiceUnavailableError

from crypto_updates.bus.errors import BusError, JetStreamMissingError, JetStreamUnavailableError, RefusedError, reason
from crypto_updates.bus.refusal import jetstream_error

KINDS: dict[int, type[APIError]] = {
    400: BadRequestError,
    404: NotFoundError,
    500: ServerError,
    503: ServiceUnavailableError,
}


def meant(code: int, err_code: int | None) -> BusError:
    error = KINDS.get(code, APIError)(code=code, err_code=err_code, description="what the server says")
    return jetstream_error(error, "$JS.API", has_jetstream=True)


@pytest.mark.parametrize(
    ("code", "err_code", "way_out"),
    [
        (500, 10047, "needs 2 GiB of JetStream storage"),
        (400, 10122, "disk_max_stream_bytes"),
        (400, 10065, "nats stream ls --subject crypto.updates"),
        (400, 10060, "another stream takes crypto.updates"),
        (500, 10074, "set STREAM_REPLICAS=1"),
        (500, 10052, "raise the limit"),
        (400, 10027, "max_streams"),
        (400, 10026, "max_consumers"),
        (400, 10121, "max_ack_pending"),
        (400, 10109, "is sealed"),
        (400, 10054, "max_msg_size"),
        (400, 19999, "the log of the server"),
    ],
)
def test_a_definite_refusal_is_told_with_what_the_server_says_and_the_way_out(
    code: int, err_code: int, way_out: str
) -> None:
    error = meant(code, err_code)
    assert isinstance(error, RefusedError)
    line = reason(error, "nats://x:4222")
    assert line.startswith("REFUSED nats://x:4222: what the server says: ")
    assert way_out in line


@pytest.mark.parametrize(
    ("code", "err_code"),
    [(503, 10008), (503, 10023), (503, 10077), (400, 10005), (404, 10059), (409, 10158), (429, 10167), (500, 10049)],
)
def test_a_lack_that_may_pass_is_no_refusal(code: int, err_code: int) -> None:
    error = meant(code, err_code)
    assert isinstance(error, JetStreamUnavailableError)
    assert str(error).startswith("what the server says: ")


@pytest.mark.parametrize("err_code", [10039, 10076])
def test_not_enabled_is_no_jetstream(err_code: int) -> None:
    assert isinstance(meant(503, err_code), JetStreamMissingError)
