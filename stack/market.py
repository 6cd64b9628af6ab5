"""`crypto-updates market`: CoinGecko's paths with a simulated market, for servers that call it themselves.

    crypto-updates market --port 8000         stands alone, until Ctrl-C
    crypto-updates market --ca FILE           as https://api.coingecko.com, for containers with that name for it
    crypto-updates market set bitcoin=41234.5 ethereum=none
    crypto-updates market status 429          of all answers, until: crypto-updates market status 200
    crypto-updates market delay 30            seconds before each answer, or never

The last three change the market of the running harness, or the one that stands alone.
"""

import asyncio
import math
import shutil
import time
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from crypto_updates.harness.control import market as routes
from crypto_updates.harness.control.server import serve
from crypto_updates.harness.env import ANYWHERE, DEFAULT_PORT
from crypto_updates.harness.interception import HOST, Interception
from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from stack import console, control
from worker.market.simulated import Simulated

_STEP_SECONDS = 1.0
_HTTPS_PORT = 443


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.epilog = control.HOW
    text = "where the market that stands alone listens (default: a free port)"
    parser.add_argument("--port", type=console.port, default=0, help=text)
    text = "also answer as https://api.coingecko.com, and write the certificates that a client must trust to this file"
    parser.add_argument("--ca", type=console.result, metavar="FILE", help=text)
    text = f"where it does that, on all addresses (default: {_HTTPS_PORT})"
    parser.add_argument("--https-port", metavar="PORT", type=console.port, default=_HTTPS_PORT, help=text)
    changes = parser.add_subparsers(dest="change", metavar="set | status | delay")
    changes.add_parser("set").add_argument("prices", nargs="+", type=_price, metavar="COIN=PRICE")
    changes.add_parser("status").add_argument("status", type=int, metavar="STATUS")
    changes.add_parser("delay").add_argument("delay", type=_delay, metavar="SECONDS")
    options = vars(parser.parse_args(argv))
    port, ca, https_port, change = (options.pop(name) for name in ("port", "ca", "https_port", "change"))
    if change and (port or ca):
        parser.error(f"--port and --ca are for a market that stands alone; accepted: {change} without them")
    if change is None:
        return console.until_stopped(partial(_stand_alone, port, ca, https_port))
    asked: dict[str, Any] = {"prices": dict(options["prices"])} if change == "set" else options
    return control.told(partial(control.ask, "POST", "/market", asked))


def _price(text: str) -> tuple[str, float | None]:
    coin, _, price = text.rpartition("=")
    try:
        if coin:
            return coin, None if price == "none" else _number(price)
    except ValueError:
        pass
    raise ArgumentTypeError(f"{text!r}: accepted: COIN=PRICE, such as bitcoin=41234.5, or COIN=none")


def _delay(text: str) -> float | None:
    try:
        return None if text == "never" else _number(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: accepted: seconds, or never") from error


def _number(text: str) -> float:
    """Raises ValueError."""
    if math.isfinite(number := float(text)) and number >= 0:
        return number
    raise ValueError


def _stand_alone(port: int, ca: Path | None, https_port: int, closing: ExitStack) -> int:
    ports.check("--port", port)
    market = closing.enter_context(Market(port=port or ports.free()))
    url = closing.enter_context(serve("Crypto Updates: a market", routes.router(market), port=ports.free(DEFAULT_PORT)))
    console.say(f"CoinGecko's paths at {market.url}/api/v3 (Ctrl-C stops it)\n{control.VARIABLE}={url}")
    if ca:
        ports.check("--https-port", https_port)
        interception = closing.enter_context(Interception(market.port, tls_port=https_port, host=ANYWHERE))
        shutil.copyfile(interception.bundle(), ca)
        console.say(f"Also https://{HOST} on port {https_port}, for clients that trust {ca}")
    simulated = Simulated(coins=tuple(market.prices), currency="usd")
    moved = dict(market.prices)
    while True:
        for quote in asyncio.run(simulated.fetch(datetime.now(UTC), 0)):
            if market.prices[quote.coin] == moved[quote.coin]:  # nobody has set it
                market.prices[quote.coin] = moved[quote.coin] = quote.price
        time.sleep(_STEP_SECONDS)
