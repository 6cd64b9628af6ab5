"""Who listens on a nats-server, as its monitoring tells: https://docs.nats.io/running-a-nats-service/nats_admin/monitoring."""

import http.client
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from crypto_updates.bus.stream import takes
from crypto_updates.harness import answer
from crypto_updates.local.servers import NatsServer

# The name of the harness's own connection, which is nobody's subscriber.
OBSERVER = "crypto-updates harness"
# Subjects on which a client gets replies.
_REPLIES = ("_INBOX", "$")
_REPLY_SECONDS = 5.0
_NO_ANSWER = (OSError, http.client.HTTPException, ValueError)


class Client(NamedTuple):
    """A connection. `lang` and `version` name its library, for example `nats.js` 2.29.3."""

    cid: int
    name: str
    lang: str
    version: str


class Subscription(NamedTuple):
    """Of a client, or of a JetStream consumer, which the server serves to a client that it does not tell (None)."""

    subject: str
    queue: str
    consumer: str
    client: Client | None


def clients(server: NatsServer) -> list[Client]:
    """The connections to the server; none while it does not answer."""
    try:
        return _clients(server)
    except _NO_ANSWER:
        return []


def subscriptions(server: NatsServer, subject: str | None = None) -> list[Subscription]:
    """The subscriptions that a message on the subject reaches, or all; none while the server does not answer."""
    try:
        return _subscriptions(server, subject)
    except _NO_ANSWER:
        return []


def _clients(server: NatsServer) -> list[Client]:
    connections: list[dict[str, Any]] = _told(server, "/connz?limit=10000").get("connections") or []
    fields = ("cid", "name", "lang", "version")
    found = [Client(*(of.get(name, "") for name in fields)) for of in connections]
    return [client for client in found if client.name != OBSERVER]


def _subscriptions(server: NatsServer, subject: str | None) -> list[Subscription]:
    of = {client.cid: client for client in _clients(server)}
    told = _told(server, "/subsz?subs=1&limit=10000" + (f"&test={quote(subject)}" if subject else ""))
    # The server's own subscriptions, as of a stream, belong to no client.
    plain = [
        Subscription(sub["subject"], sub.get("qgroup", ""), "", of[sub["cid"]])
        for sub in told.get("subscriptions_list") or []
        if sub["cid"] in of and not sub["subject"].startswith(_REPLIES)
    ]
    return plain + [found for found in _consumers(server) if subject is None or takes([found.subject], subject)]


def _consumers(server: NatsServer) -> Iterator[Subscription]:
    """The JetStream consumers that somebody listens to at this moment."""
    for account in _told(server, "/jsz?consumers=1&config=1").get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            for consumer in stream.get("consumer_detail") or []:
                if consumer.get("num_waiting") or consumer.get("push_bound"):
                    for subject in _filters(consumer["config"]) or stream["config"].get("subjects") or []:
                        yield Subscription(subject, "", consumer["name"], None)


def _filters(config: dict[str, Any]) -> Sequence[str]:
    return config.get("filter_subjects") or ([config["filter_subject"]] if config.get("filter_subject") else [])


def _told(server: NatsServer, path: str) -> dict[str, Any]:
    """Raises one of _NO_ANSWER."""
    told: dict[str, Any] = answer.get(server.monitor_url + path, _REPLY_SECONDS).json()
    return told
