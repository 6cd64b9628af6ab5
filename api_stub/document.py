"""A document as BSON, and what of JSON it cannot hold."""

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from api_stub.errors import BadDocumentError
from api_stub.query import Document
from crypto_updates.bus import culprit
from crypto_updates.bus.event import shown

MAX_BYTES = 16 * 1024 * 1024
MIN_INT, MAX_INT = -(2**63), 2**63 - 1
# The encoder raises these for a document that BSON cannot hold.
UNENCODABLE = (BSONError, OverflowError, UnicodeEncodeError, RecursionError)


def encode(document: Document) -> RawBSONDocument:
    """Raises BadDocumentError, which names the key."""
    try:
        raw = bson.encode(document)
    except RecursionError as error:
        raise BadDocumentError("body: not storable: nested too deep") from error
    except UNENCODABLE as error:
        raise BadDocumentError(culprit.find(document, _fault) or f"body: not storable: {error}") from error
    if len(raw) > MAX_BYTES:
        raise BadDocumentError(f"body: {len(raw)} bytes as BSON, more than {MAX_BYTES}")
    return RawBSONDocument(raw)


def _fault(value: object) -> str | None:
    """Say why BSON cannot hold this value of JSON, whatever is in it."""
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        return f"not storable: {shown(value)} has more than 64 bits"
    if isinstance(value, dict) and (key := next((key for key in value if "\0" in str(key)), None)):
        return f"not storable: the key {shown(key)} has a NUL"
    return None
