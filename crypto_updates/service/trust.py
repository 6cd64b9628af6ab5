"""Which certificates a TLS client trusts. A bad file is known when the context is made, before any connection."""

import os
import ssl
from pathlib import Path


def context(ca: Path | None = None) -> ssl.SSLContext:
    """Trust the CAs in the PEM file; without one, those of the system, or of SSL_CERT_FILE, which OpenSSL reads.

    Raises ValueError with the cause.
    """
    given = os.environ.get("SSL_CERT_FILE")
    if ca:
        check(ca)
    elif given:  # OpenSSL goes on without a file that is missing or bad
        try:
            check(Path(given))
        except ValueError as error:
            raise ValueError(f"SSL_CERT_FILE={given}: {error}") from error
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # Python opens this file for every context
        raise ValueError(f"SSLKEYLOGFILE={error.filename}: {error.strerror}") from error


def check(ca: Path) -> None:
    """Raises ValueError with the cause if the file has no certificate."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ValueError("no PEM certificate is in it") from error
    except OSError as error:
        raise ValueError(error.strerror) from error
