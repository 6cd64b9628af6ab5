"""What to do about a flaw, for each client library whose way is known."""

from collections.abc import Mapping
from types import MappingProxyType

from crypto_updates.harness.verdict.item import Advice, Flaw

# As the libraries name themselves to nats-server.
LIBRARIES = MappingProxyType({"nats.js": "nats.js", "python3": "nats-py", "go": "nats.go"})
ANY = ""

_HANDLER = {
    ANY: "catch errors in the handler of each message, and log them",
    "nats.js": "try { ... } catch (error) { console.error(error) } within the handler, around JSON.parse too: an error"
    " thrown out of `for await (const message of subscription)` ends the subscription, and an unhandled rejection ends"
    " the process",
    "python3": "try: ... except Exception: log.exception(...) within the callback, around json.loads too",
    "go": "check the error of json.Unmarshal and return; recover() within the handler against a panic",
}
_RECONNECT = {
    ANY: "let the client reconnect for ever, and end the process on no error of the connection",
    "nats.js": "connect({ maxReconnectAttempts: -1 }): the default gives up after 10 attempts, 2 s apart",
    "python3": "nats.connect(max_reconnect_attempts=-1): the default gives up after 60 attempts, 2 s apart",
    "go": "nats.MaxReconnects(-1): the default gives up after 60 attempts, 2 s apart",
}
_FIRST_CONNECT = {
    ANY: "retry the first connection until NATS answers",
    "nats.js": "connect({ waitOnFirstConnect: true, maxReconnectAttempts: -1 })",
    "python3": "nats.connect(max_reconnect_attempts=-1), which retries the first connection too",
    "go": "nats.RetryOnFailedConnect(true) with nats.MaxReconnects(-1)",
}
_PING = {
    ANY: "send pings every 10 s, and reconnect when two are not answered",
    "nats.js": "connect({ pingInterval: 10_000, maxPingOut: 2 }): the default takes minutes to notice",
    "python3": "nats.connect(ping_interval=10, max_outstanding_pings=2): the default takes minutes to notice",
    "go": "nats.PingInterval(10*time.Second), nats.MaxPingsOutstanding(2): the default takes minutes to notice",
}
_MONGO_START = {
    ANY: "retry until MongoDB answers, instead of ending on the first error",
    "nats.js": "retry until MongoDB answers, each time with a new MongoClient: one whose first connection failed stays"
    " closed (mongoose: call connect() again)",
}
_MONGO = {
    ANY: "catch the driver's errors in the handler; keep one client for the whole process, since it reconnects by"
    " itself; give it serverSelectionTimeoutMS and socketTimeoutMS of some seconds",
}
_MARKET = {
    ANY: "catch what the request throws, check its status before reading the body, and give it a timeout",
    "nats.js": "try { const answer = await fetch(url, { signal: AbortSignal.timeout(10_000) }); if (!answer.ok) ... }"
    " catch (error) { console.error(error) }: an unhandled rejection ends the process",
    "python3": "give the request a timeout, call raise_for_status(), and catch what it raises within the callback",
    "go": "http.Client{Timeout: 10 * time.Second}; check err and StatusCode before decoding",
}
_STOP = {
    ANY: "on SIGTERM drain the subscription, wait for the handlers that run, close MongoDB, then exit; a shell or npm"
    " in between may keep the signal for itself",
    "nats.js": "process.on('SIGTERM', ...): await connection.drain(), then wait for the handlers that still run, close"
    " MongoDB, and exit; drain() does not wait for an async callback. Start it with node: npm may keep the signal",
    "python3": "loop.add_signal_handler(SIGTERM, ...): await connection.drain(), then close MongoDB",
    "go": "signal.Notify(..., syscall.SIGTERM): connection.Drain(), wait until it is closed, then close MongoDB",
}
_ONCE = {
    ANY: "make a unique index on the event's timestamp (or Nats-Msg-Id), and take a duplicate key for success: NATS may"
    " deliver an event again",
}
_CHECK = {ANY: "check the body before acting on it: JSON, the right `event`, and a `timestamp` that is a time"}
_BURST = {
    ANY: "handle each message that was received, one after another if need be",
    "python3": "subscribe(pending_msgs_limit=..., pending_bytes_limit=...) with more room; nats-py drops what does not"
    " fit",
    "go": "subscription.SetPendingLimits(...) with more room; nats.go drops what does not fit",
}
_LISTEN = {
    ANY: "give the subject that it waits on with --subject; let it read the address from NATS_URL, or give it under"
    " another name with --env 'NAME={NATS_URL}'",
}
_EARLY = {ANY: "subscribe first, and do what takes long afterwards"}
_REACT = {
    ANY: "see whether it takes the body given with --body, and whether MongoDB's address comes from MONGO_URL (--env"
    " 'NAME={MONGO_URL}' gives it under another name); if it does not write there, watch an answer with --probe URL",
}

Table = Mapping[Flaw, Advice]

START: Table = dict.fromkeys(Flaw, _LISTEN) | {Flaw.LATE: _EARLY}
NATS_LATE: Table = dict.fromkeys(Flaw, _FIRST_CONNECT)
MONGO_LATE: Table = dict.fromkeys(Flaw, _MONGO_START)
EVENT: Table = dict.fromkeys(Flaw, _REACT) | {Flaw.ENDS: _HANDLER}
BURST: Table = dict.fromkeys(Flaw, _BURST) | {Flaw.ENDS: _HANDLER}
COPY: Table = dict.fromkeys(Flaw, _HANDLER) | {Flaw.REPEATS: _ONCE}
BODY: Table = dict.fromkeys(Flaw, _HANDLER) | {Flaw.ACCEPTS: _CHECK}
OUTAGE: Table = dict.fromkeys(Flaw, _RECONNECT)
SILENCE: Table = dict.fromkeys(Flaw, _PING)
MONGO: Table = dict.fromkeys(Flaw, _MONGO)
MARKET: Table = dict.fromkeys(Flaw, _MARKET)
STOP: Table = dict.fromkeys(Flaw, _STOP)
AGAIN: Table = dict.fromkeys(Flaw, _LISTEN)


def text(table: Table, flaw: Flaw, library: str) -> str:
    """What to do, for this library if its way is known. `library`: as nats-server names it, "" if it does not."""
    advice = table[flaw]
    if library in advice and library in LIBRARIES:
        return f"{LIBRARIES[library]}: {advice[library]}"
    return advice[ANY]
