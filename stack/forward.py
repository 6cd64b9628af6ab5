"""`crypto-updates forward PORT HOST:PORT`: opens another machine's port on this one, for tools."""

import argparse
import asyncio
import contextlib
import sys
from asyncio import StreamReader, StreamWriter

from stack import console

_CHUNK_BYTES = 65_536


def run(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    parser.add_argument("port", type=console.port, help="the port to listen on")
    parser.add_argument("target", type=_address, metavar="HOST:PORT", help="where to connect to")
    options = parser.parse_args(argv)
    try:
        asyncio.run(_serve(options.port, *options.target))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(f"port {options.port}: {error.strerror}; accepted: a free port", file=sys.stderr)
    return 1


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r}: accepted: host:port")
    return host, console.port(port)


async def _serve(port: int, host: str, target: int) -> None:
    async def forward(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(host, target)
            with contextlib.closing(back):
                ways = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()

    server = await asyncio.start_server(forward, port=port)
    await server.serve_forever()


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
