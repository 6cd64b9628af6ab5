"""Bodies that are no event, by name: a server lives on, does not react to them, and reacts to the next event."""

from collections.abc import Mapping
from types import MappingProxyType

INVALID: Mapping[str, bytes] = MappingProxyType(
    {
        "empty": b"",
        "null": b"null",
        "[]": b"[]",
        "not JSON": b"not json",
        "not UTF-8": b'{"event":"CRYPTO_UPDATE","timestamp":"\xff\xfe"}',
        "wrong event": b'{"event":"SOMETHING_ELSE","timestamp":"2023-11-21T14:30:00Z"}',
        "no timestamp": b'{"event":"CRYPTO_UPDATE"}',
        "1 MB": b'"' + 1_000_000 * b"x" + b'"',
        "200 levels": 200 * b"[" + 200 * b"]",
    }
)
