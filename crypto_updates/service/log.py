"""Logging to standard output: text for people, or one JSON object a line for machines."""

import json
import logging
import sys
from datetime import UTC, datetime

# Behind this much, a message is cut: what came from outside may be as long as a message of NATS.
MAX_MESSAGE_CHARS = 2000
# What a line may carry besides its message, for machines.
EXTRAS = ("traceparent",)


class TextFormatter(logging.Formatter):
    """The message as one line. Warnings and errors have their level at the end, as people find lines by their start."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        level = f" ({record.levelname.lower()})" if record.levelno >= logging.WARNING else ""
        line = "".join(char if char.isprintable() else "\ufffd" for char in _cut(record.message))
        return f"{line}{level}"


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        entry |= {name: getattr(record, name) for name in EXTRAS if getattr(record, name, None)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _cut(message: str) -> str:
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    return f"{message[:MAX_MESSAGE_CHARS]}... ({len(message)} characters)"


def setup(level: str, form: str) -> None:
    """Set up logging. `level` is for the project's own loggers; libraries log warnings and errors."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("crypto_updates", "worker", "api_stub", "stack", "__main__"):
        logging.getLogger(name).setLevel(level.upper())
