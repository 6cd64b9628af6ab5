from typing import Any

import nats.errors
from nats.aio.client import Client

from crypto_updates.bus import header


class Wire(Client):
    """nats-py's client, mended where a server or somebody in between can end or mislead it."""

    @property
    def has_jetstream(self) -> bool:
        """What the server says of itself in its INFO."""
        return bool(self._server_info.get("jetstream"))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002
        # nats-py believes an INFO that offers no TLS, and anybody in between can send one. Then send no password.
        asked = self.options.get("tls") or (self._current_server and self._current_server.uri.scheme == "tls")
        if initial_connection and asked and not info.get("tls_required"):
            raise nats.errors.SecureConnRequiredError
        await super()._process_info(info, initial_connection)

    async def _process_pong(self) -> None:
        # A PING that timed out has left its future, at which nats-py's read loop would end when the PONG comes late.
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
        else:
            await super()._process_pong()

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        return header.parse(headers) if headers else None
