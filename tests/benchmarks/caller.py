"""Asks an API stub from several connections at once, in a process of its own.

    python -m tests.benchmarks.caller PORT CONNECTIONS SECONDS PATH

Each connection asks again as soon as it has its answer. Of `{number}` in the path each request has another one. Prints
as JSON the seconds of each answer, and how many 503s there were.
"""

import asyncio
import json
import sys
import time
from http import HTTPStatus
from itertools import chain, count

HEAD_ENDS, LENGTH = b"\r\n\r\n", b"content-length: "


async def answered(reader: asyncio.StreamReader) -> bool:
    """Read an answer. Return False if it is a 503. Raises RuntimeError for another status, or without a length."""
    head = (await reader.readuntil(HEAD_ENDS)).lower()
    status = int(head.split()[1])
    if status not in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE} or LENGTH not in head:
        raise RuntimeError(head.decode(errors="replace"))
    await reader.readexactly(int(head.partition(LENGTH)[2].split()[0]))
    return status == HTTPStatus.OK


async def ask(port: int, path: str, end: float) -> list[float | None]:
    """Ask until `end`. Return the seconds of each answer, None for a 503."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seconds: list[float | None] = []
    while (begin := time.perf_counter()) < end:
        target = path.format(number=next(numbers))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        seconds.append(time.perf_counter() - begin if await answered(reader) else None)
    writer.close()
    return seconds


async def main(port: int, connections: int, seconds: float, path: str) -> None:
    end = time.perf_counter() + seconds
    found = [*chain(*await asyncio.gather(*(ask(port, path, end) for _ in range(connections))))]
    took = [seconds for seconds in found if seconds is not None]
    print(json.dumps({"took": took, "refused": len(found) - len(took)}))  # noqa: T201 - its output


numbers = count()
if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
