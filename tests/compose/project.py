"""The Compose project that the tests run: a copy of compose.yaml and of what it builds, under a name of its own."""

import functools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client

from crypto_updates.local import ports
from tests.support import ROOT, connect, eventually

NAME = "crypto-updates-test"
PARTS = (
    "compose.yaml",
    "compose.api-server.yaml",
    "compose.cluster.yaml",
    "examples",
    ".dockerignore",
    "nats",
    "crypto_updates",
    "worker",
    "api_stub",
)
PARTS += ("secrets", "stack")
PORTS = {"NATS_PORT": 4222, "MONGO_PORT": 27017, "HTTP_PORT": 8080}
PORTS |= {"NATS_PORT_2": 4223, "NATS_PORT_3": 4224, "HTTP_PORT_2": 8082}


def docker(*args: str, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - run's
    return subprocess.run(["docker", *args], capture_output=True, text=True, check=False, timeout=timeout, **options)


def must(result: subprocess.CompletedProcess[str]) -> str:
    """What the command wrote to standard output; an AssertionError with all of its output if it failed."""
    assert result.returncode == 0, f"{result.args}: status {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


class Project:
    """`dotenv` is the text of its `.env`; None for no such file. A port that someone holds makes way for a free one."""

    def __init__(self, folder: Path, dotenv: str | None) -> None:
        self.folder = folder
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("node_modules"))
            else:
                shutil.copy(ROOT / part, folder / part)
        if dotenv is not None:
            self.dotenv(dotenv)
        self._ports = {name: ports.free(port) for name, port in PORTS.items()}
        moved = {name: str(port) for name, port in self._ports.items() if port != PORTS[name]}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
        self._environ = {name: value for name, value in kept.items() if name not in PORTS} | moved

    def dotenv(self, text: str) -> None:
        """What the file `.env` says from now on. The variables of the clients are asked for anew."""
        (self.folder / ".env").write_text(text, encoding="utf-8")
        self.__dict__.pop("clients", None)

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self._ports['NATS_PORT']}"

    @functools.cached_property
    def clients(self) -> list[dict[str, str]]:
        """The variables of each client, as `make connect` tells them."""
        told = must(self.compose("run", "--rm", "--no-deps", "--no-TTY", "stack", "connect"))
        parts = [dict(re.findall(r"^([A-Z_]+)='?(.*?)'?$", part, re.MULTILINE)) for part in told.split("\n\n")]
        return [part for part in parts if "NATS_USER" in part]

    def client(self, user: str) -> dict[str, str]:
        """The variables of the user on this machine."""
        return next(part for part in self.clients if part["NATS_USER"] == user)

    @property
    def operator(self) -> dict[str, str]:
        return self.client("operator")

    async def connect(self, **variables: str) -> Client:
        """A NATS client with these variables, the operator's unless told."""
        told = variables or self.operator
        return await connect(
            self.nats_url,
            user=told["NATS_USER"],
            password=told["NATS_PASSWORD"],
            inbox_prefix=told.get("NATS_INBOX_PREFIX", "_INBOX"),
        )

    @functools.cached_property
    def mongo_url(self) -> str:
        """The operator's, through the port that the profile opens."""
        must(self.compose("--profile", "tools", "up", "--detach", "--no-deps", "--wait", "mongo_port"))
        url = self.operator["MONGO_URL"].replace("=secrets/", f"={self.folder}/secrets/")
        return f"{url}&directConnection=true"

    def compose(self, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = ("compose", "--project-name", NAME, *args)
        return docker(*command, timeout=timeout, cwd=self.folder, env=self._environ)

    def up(self, *services: str) -> str:
        """Start all of it, or these services and what they depend on."""
        result = self.compose("up", "--build", "--wait", *services, timeout=400)
        if result.returncode:
            logging.getLogger(__name__).error("%s", "\n".join(self._sick()))
        return must(result)

    def up_and_kill(self, service: str, after: float) -> bool:
        """Start all, and kill the service so many seconds after it has begun to run; False if it had ended."""
        with subprocess.Popen(
            ["docker", "compose", "--project-name", NAME, "up", "--build", "--wait"],
            cwd=self.folder,
            env=self._environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as up:
            assert eventually(lambda: self.begun(service), 120), f"{service} did not start"
            time.sleep(after)  # the moment of the kill, not a wait for something to happen
            killed = docker("kill", self.container(service)).returncode == 0
            os.killpg(up.pid, signal.SIGKILL)  # it would wait for the dead; what it has started stays
            return killed

    def _sick(self) -> Iterator[str]:
        """What the last health checks said of those that are not well."""
        for service, container in self.containers().items():
            checks = container["State"].get("Health", {}).get("Log") or ()
            if not _is_well(container["State"]):
                yield f"{service}: {container['State']['Status']} {[check['Output'] for check in checks]}"

    def begun(self, service: str) -> bool:
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        state = json.loads(docker("inspect", container).stdout)[0]["State"] if container else {}
        return bool(state and not state["StartedAt"].startswith("0001"))

    @property
    def http_port(self) -> int:
        return self._ports["HTTP_PORT"]

    def down(self, *, keeping_images: bool = False) -> None:
        images = () if keeping_images else ("--rmi", "local")
        down = ("down", "--timeout", "0", "--volumes", "--remove-orphans", *images)
        must(self.compose("--profile", "*", *down, timeout=120))

    def container(self, service: str) -> str:
        return must(self.compose("ps", "--all", "--quiet", service)).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        inspected: list[dict[str, Any]] = json.loads(must(docker("inspect", self.container(service))))
        return inspected[0]

    def containers(self) -> dict[str, dict[str, Any]]:
        """What Docker tells of each, by its service."""
        told = must(docker("inspect", *must(self.compose("ps", "--all", "--quiet")).split()))
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in json.loads(told)}

    def is_well(self, *services: str) -> bool:
        """True if each runs, and is healthy where it has a health check."""
        containers = self.containers()
        return all(_is_well(containers[service]["State"]) for service in services)

    def kill(self, *services: str) -> None:
        """End their processes as a crash does. After `docker kill`, a stop by hand, no restart policy applies."""
        containers = self.containers()
        pids = [containers[service]["State"]["Pid"] for service in services]
        script = f"import os\nfor pid in {pids}: os.kill(pid, 9)"
        run = ("run", "--rm", "--pid", "host", "--user", "0", "--entrypoint", "python", "crypto-updates-stack")
        must(docker(*run, "-c", script))

    def logs(self, service: str) -> str:
        """What the service wrote, without what `docker compose logs` writes between the lines for a terminal."""
        return must(docker("logs", self.container(service)))

    def line(self, service: str, pattern: str, within: float = 60) -> str:
        """The latest log line that is `pattern`, a regular expression, from its first to its last letter."""
        found = eventually(lambda: re.findall(f"^{pattern}$", self.logs(service), re.MULTILINE), within)
        assert found, f"{service} wrote no line {pattern!r} within {within:.0f} s:\n{self.logs(service)[-3000:]}"
        return str(found[-1])

    def events(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest events, as the API shows them; none while it is away."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.http_port}/events?limit={limit}", timeout=10)
        except httpx.TransportError:
            return []
        events: list[dict[str, Any]] = answer.json()["events"] if answer.is_success else []
        return events

    def has(self, identity: str, within: float = 60) -> bool:
        """True if the API shows the event."""
        return eventually(lambda: any(event["_id"] == identity for event in self.events()), within)


def _is_well(state: dict[str, Any]) -> bool:
    return bool(state["Running"]) and state.get("Health", {"Status": "healthy"})["Status"] == "healthy"
