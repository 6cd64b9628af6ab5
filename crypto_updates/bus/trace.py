"""W3C's `traceparent`, by which an event's headers name the trace that it belongs to. Pure but for chance.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

import re
import secrets
from collections.abc import Mapping

TRACEPARENT = "traceparent"

# A version, the ids of the trace and of the span, and flags. Ids of zeros only and the version ff are invalid.
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def fresh() -> str:
    """Return the traceparent of a new trace.

    It is marked as sampled, because a receiver that goes by this mark, as OpenTelemetry does by default, would
    otherwise record nothing.
    """
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def given(headers: Mapping[str, str]) -> str | None:
    """Return the traceparent in the headers, None if there is none or it is invalid. Its name may have capitals."""
    found = headers.get(TRACEPARENT) or next((headers[name] for name in headers if name.lower() == TRACEPARENT), "")
    return found if _FORM.fullmatch(found) else None
