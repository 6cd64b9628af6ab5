"""`/market`: what the market answers, and what it was asked."""

from fastapi import APIRouter

from crypto_updates.harness.control.schema import MarketChange, MarketState, Request
from crypto_updates.harness.market import Market
from crypto_updates.service import problem


def router(market: Market) -> APIRouter:
    made = APIRouter(tags=["market"])

    @made.get("/market")
    def state() -> MarketState:
        """What it answers, and what it was asked since the last reset."""
        return MarketState(
            url=market.url,
            prices=market.prices,
            status=market.status,
            delay=market.delay,
            body=None if market.body is None else market.body.decode(errors="replace"),
            requests=[Request(path=request.path, query=request.query) for request in market.requests],
        )

    @made.post("/market", responses=problem.documented(400, 422))
    def change(change: MarketChange) -> MarketState:
        """Change prices, or what all answers have in common: status, delay, body."""
        market.prices = market.prices | change.prices
        for name in change.model_fields_set & {"status", "delay"}:
            setattr(market, name, getattr(change, name))
        if "body" in change.model_fields_set:
            market.body = None if change.body is None else change.body.encode()
        return state()

    return made
