"""The header block of a NATS message (ADR-4). Pure."""

_VERSION = "NATS/1.0"


def parse(block: bytes) -> dict[str, str]:
    """Return the headers, of several with one name the first, with what is not UTF-8 replaced.

    nats-server goes by the first `Nats-Msg-Id`, its name to the letter and its value without the spaces before it;
    nats-py's own parser keeps the last. A status in the first line becomes `Status` and `Description`, as in nats-py.
    """
    first, *lines = block.decode(errors="replace").split("\r\n")
    headers: dict[str, str] = {}
    code, _, description = first.removeprefix(_VERSION).strip().partition(" ")
    if code.isdecimal():
        headers |= {"Status": code} | ({"Description": description} if description else {})
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name, value.lstrip(" "))
    return headers
