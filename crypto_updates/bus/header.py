"""The header block of a NATS message (ADR-4). Pure."""

_VERSION = b"NATS/1.0"


def parse(block: bytes) -> dict[str, str]:
    """Return the headers, of several with one name the first, with what is not UTF-8 replaced.

    nats-server goes by the first `Nats-Msg-Id`, its name to the letter and its value without the spaces before it;
    nats-py's own parser keeps the last. A status in the first line becomes `Status` and `Description`, as in nats-py.
    """
    first, *lines = block.split(b"\r\n")
    headers: dict[str, str] = {}
    code, _, description = first.removeprefix(_VERSION).strip().decode(errors="replace").partition(" ")
    if code.isdecimal():
        headers |= {"Status": code} | ({"Description": description} if description else {})
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers.setdefault(name.decode(errors="replace"), value.lstrip(b" ").decode(errors="replace"))
    return headers
