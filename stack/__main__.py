"""`crypto-updates COMMAND`, and `python -m stack COMMAND` in a clone: the commands for a person at a terminal."""

import importlib
import sys
from typing import NamedTuple


class _Command(NamedTuple):
    module: str
    text: str


_COMMANDS = {
    "demo": _Command("stack.demo", "the whole stack on this machine, with a simulated market and an event every 5 s"),
    "dev": _Command("stack.dev", "the services, restarted when their files change"),
    "verify": _Command("stack.check.verify", "the checklist against a running stack"),
    "audit": _Command("stack.check.audit", "the slots expected and stored over a span"),
    "dead-letters": _Command(
        "stack.letters.dead_letters", "what could not become an event: list, show, replay, discard"
    ),
    "connect": _Command("stack.connect", "how to connect a client of your own to the stack in Compose"),
    "forward": _Command("stack.forward", "another machine's port on this one, for tools"),
    "credentials": _Command("stack.setup.credentials", "makes the secrets of the stack in Compose"),
    "provision": _Command("stack.setup.provision", "makes stream, consumer, replica set, indexes and users"),
}


def main(argv: list[str]) -> int:
    """Run the command, and return the exit status. The module is imported only when its command is run."""
    if argv and argv[0] in _COMMANDS:
        status: int = importlib.import_module(_COMMANDS[argv[0]].module).run(argv[1:])
        return status
    wanted = argv[:1] in (["-h"], ["--help"])
    usage = [f"  {name:14}{command.text}" for name, command in _COMMANDS.items()]
    print("usage: crypto-updates COMMAND [--help]", *usage, sep="\n", file=sys.stdout if wanted else sys.stderr)
    return 0 if wanted else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
