"""The terms on which the sources give prices, as the settings need them: without the HTTP client in memory."""

from typing import Literal

# CoinGecko's.
Plan = Literal["public", "demo", "pro"]
# DefiLlama's.
CURRENCY = "usd"
