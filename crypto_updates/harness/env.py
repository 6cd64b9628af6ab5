"""The variables by which other people's API servers find their servers. Pure."""

# Names that were seen in public implementations.
_NATS = ("NATS_URL", "NATS_URI", "NATS_SERVER", "NATS_SERVERS")
_MONGO = ("MONGO_URL", "MONGO_URI", "MONGODB_URL", "MONGODB_URI", "DATABASE_URL", "DB_URI")
_COINGECKO = ("COINGECKO_URL", "COINGECKO_API_URL", "COINGECKO_BASE_URL")


def mongo_url(port: int, database: str) -> str:
    """The URL of the database by way of this port.

    `directConnection`, because a driver that asks the replica set for its members would go past the port. The last
    option takes what a server may append as a database name of its own.
    """
    return f"mongodb://127.0.0.1:{port}/{database}?directConnection=true&appName=server"


def variables(*, nats_port: int, mongo_port: int, database: str, market_url: str, port: int) -> dict[str, str]:
    return {
        **dict.fromkeys(_NATS, f"nats://127.0.0.1:{nats_port}"),
        "NATS_HOST": "127.0.0.1",
        "NATS_PORT": str(nats_port),
        **dict.fromkeys(_MONGO, mongo_url(mongo_port, database)),
        "MONGO_DB": database,
        "MONGO_HOST": "127.0.0.1",
        "MONGO_PORT": str(mongo_port),
        **dict.fromkeys(_COINGECKO, f"{market_url}/api/v3"),
        "DEFILLAMA_URL": market_url,
        "PORT": str(port),
        "HTTP_PORT": str(port),
    }
