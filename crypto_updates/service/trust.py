"""Which certificates a TLS client trusts. A bad file is known when the context is made, before any connection."""

import os
import ssl
from pathlib import Path

NO_CERTIFICATE = "no PEM certificate is in it"


def context(ca: Path | None = None, folder: str | None = None) -> ssl.SSLContext:
    """Trust the CAs in the PEM file and in the folders; without them, those of the system, or of SSL_CERT_FILE.

    Raises ValueError with the cause.
    """
    given = os.environ.get("SSL_CERT_FILE")
    if given and not (ca or folder):  # OpenSSL reads it by itself, and goes on without a file that is missing or bad
        try:
            check(Path(given))
        except ValueError as error:
            raise ValueError(f"SSL_CERT_FILE={given}: {error}") from error
    try:
        return ssl.create_default_context(cafile=ca, capath=folder)
    except ssl.SSLError as error:
        raise ValueError(NO_CERTIFICATE) from error
    except OSError as error:
        # Python opens SSLKEYLOGFILE for every context. Only then the error has the name of a file.
        other = f"SSLKEYLOGFILE={error.filename}: " if error.filename else ""
        raise ValueError(f"{other}{error.strerror}") from error


def check(ca: Path) -> None:
    """Raises ValueError with the cause if the file has no certificate."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ValueError(NO_CERTIFICATE) from error
    except OSError as error:
        raise ValueError(error.strerror) from error
