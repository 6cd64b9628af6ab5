from typing import Any

import httpx


class Market:
    def __init__(self, url: str, coins: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=5)
        self._coins = coins

    async def quotes(self) -> list[dict[str, Any]]:
        """What CoinGecko has of each coin now. Raises httpx.HTTPError, ValueError, TypeError, KeyError."""
        answer = await self._client.get("/coins/markets", params={"vs_currency": "usd", "ids": self._coins})
        answer.raise_for_status()
        return [
            {
                "coin": quote["id"],
                "price": quote["current_price"],
                "marketCap": quote["market_cap"],
                "change24h": quote["price_change_percentage_24h"],
            }
            for quote in answer.json()
            if quote["current_price"] is not None
        ]
