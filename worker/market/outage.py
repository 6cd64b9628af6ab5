"""How `crypto-updates demo` takes the market down, whatever its source: by a file, for as long as it exists."""

import os
from pathlib import Path

from worker.market.errors import TemporaryMarketError

# The path of that file. The demo sets it for its worker; it is no setting.
VARIABLE = "DEMO_MARKET_OUTAGE"


def check() -> None:
    """Raises TemporaryMarketError while the demo has the market down."""
    path = os.environ.get(VARIABLE)
    if path and Path(path).exists():
        raise TemporaryMarketError("the market is down")
