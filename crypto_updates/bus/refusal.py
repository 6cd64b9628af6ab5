"""What JetStream's refusals mean, and what to do about each: one place for all who ask JetStream for something."""

from http import HTTPStatus

from nats.js.errors import APIError

from crypto_updates.bus.errors import BusError, JetStreamMissingError, JetStreamUnavailableError, RefusedError
from crypto_updates.bus.event import SUBJECT
from crypto_updates.bus.stream import MAX_BYTES, NO_STORAGE, STREAM, STREAM_TOO_LARGE

# The numbers of the errors are those of nats-server/server/errors.json.
NOT_ENABLED, NOT_ENABLED_FOR_ACCOUNT = 10076, 10039
# These say no for good, although the server calls them failures of its own (500).
REFUSED_500 = {NO_STORAGE, 10028, 10052, 10074}
# These pass, although the server calls them the client's fault: servers of the cluster are missing, or busy.
PASSING_400 = {10005, 10040, 10044, 10202}
SMALLER = "or make a smaller stream with `crypto-updates provision --small`"
OVERLAP = (
    f"another stream takes {SUBJECT}, or crypto.claims: take the subject from it, or remove it"
    f" (`nats stream ls --subject {SUBJECT}` names it)"
)
ADVICE = {
    10005: "verify that STREAM_REPLICAS servers of the cluster run and have room for the stream",
    10023: "free JetStream storage (max_file_store, and max_file of the account), or verify the cluster's servers",
    10026: "raise max_consumers of the account, or remove a consumer that nobody needs",
    10027: "raise max_streams of the account, or remove a stream that nobody needs",
    NO_STORAGE: f"stream {STREAM} needs {MAX_BYTES // 1024**3} GiB of JetStream storage, and the server"
    f" (max_file_store) or the account (max_file) has less left: raise it, {SMALLER}",
    10052: "raise the limit in the server's configuration, or remove the stream if it cannot be changed",
    10054: f"raise max_msg_size of stream {STREAM}, or set fewer COINS",
    10060: OVERLAP,
    10065: OVERLAP,
    10074: "set STREAM_REPLICAS=1, or use a cluster",
    10077: f"stream {STREAM} is full, or the disk is: raise its limits, free disk space, and see the server's log",
    10109: f"stream {STREAM} is sealed, so it takes no event: remove it, and run `crypto-updates provision`",
    10120: f"give the account a limit for {SUBJECT}'s number of replicas (STREAM_REPLICAS)",
    10121: "raise max_ack_pending in the server's configuration (jetstream { limits })",
    STREAM_TOO_LARGE: f"stream {STREAM} needs {MAX_BYTES // 1024**3} GiB, and the account allows less"
    f" (disk_max_stream_bytes): raise it, {SMALLER}",
}


def jetstream_error(error: APIError, api_prefix: str, *, has_jetstream: bool) -> BusError:
    """Why JetStream refused or gave no answer, and what to do. `has_jetstream`: what the server's INFO says.

    RefusedError is definite; JetStreamUnavailableError may pass.
    """
    if error.err_code == NOT_ENABLED_FOR_ACCOUNT:
        return JetStreamMissingError(
            "the NATS account has no JetStream: enable it for the account, verify NATS_USER and NATS_API_PREFIX,"
            " or set DELIVERY=core"
        )
    if error.err_code == NOT_ENABLED or (error.err_code is None and not has_jetstream):
        return JetStreamMissingError()
    if error.err_code is None:  # the server has no responder on the subject
        return JetStreamUnavailableError(
            f"nobody answers at {api_prefix}: verify NATS_API_PREFIX and the rights of the account"
        )
    kind = RefusedError if _is_definite(error) else JetStreamUnavailableError
    advice = ADVICE.get(error.err_code, "verify the limits and the log of the server, or of the cluster's servers")
    return kind(f"{error.description}: {advice}")


def _is_definite(error: APIError) -> bool:
    if error.code == HTTPStatus.BAD_REQUEST:
        return error.err_code not in PASSING_400
    return error.err_code in REFUSED_500
