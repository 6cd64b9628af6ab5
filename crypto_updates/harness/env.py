"""The variables by which other people's API servers find their servers. Pure."""

from typing import NamedTuple

# Names that were seen in public implementations.
_NATS = ("NATS_URL", "NATS_URI", "NATS_SERVER", "NATS_SERVERS")
_MONGO = ("MONGO_URL", "MONGO_URI", "MONGODB_URL", "MONGODB_URI", "DATABASE_URL", "DB_URI")
_COINGECKO = ("COINGECKO_URL", "COINGECKO_API_URL", "COINGECKO_BASE_URL")

LOOPBACK = "127.0.0.1"
ANYWHERE = "0.0.0.0"  # noqa: S104 - for other containers
# The control port, where commands look for it when HARNESS_URL is not set.
DEFAULT_PORT = 4270


class Place(NamedTuple):
    """Where servers find NATS, MongoDB and the market. `host`: the address to listen on. Port 0: a free one."""

    host: str = LOOPBACK
    nats: int = 0
    mongo: int = 0
    market: int = 0


def mongo_url(host: str, port: int, database: str) -> str:
    """The URL of the database by way of this port.

    `directConnection`, because a driver that asks the replica set for its members would go past the port. The last
    option takes what a server may append as a database name of its own.
    """
    return f"mongodb://{host}:{port}/{database}?directConnection=true&appName=server"


def variables(place: Place, database: str, port: int) -> dict[str, str]:
    """`port`: what the server is to listen on."""
    market_url = f"http://{place.host}:{place.market}"
    return {
        **dict.fromkeys(_NATS, f"nats://{place.host}:{place.nats}"),
        "NATS_HOST": place.host,
        "NATS_PORT": str(place.nats),
        **dict.fromkeys(_MONGO, mongo_url(place.host, place.mongo, database)),
        "MONGO_DB": database,
        "MONGO_HOST": place.host,
        "MONGO_PORT": str(place.mongo),
        **dict.fromkeys(_COINGECKO, f"{market_url}/api/v3"),
        "DEFILLAMA_URL": market_url,
        "PORT": str(port),
        "HTTP_PORT": str(port),
    }
