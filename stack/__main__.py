"""`python -m stack COMMAND`: the commands for a person at a terminal."""

import importlib
import sys

_COMMANDS = {
    "demo": "the whole stack from this machine, with a simulated market and an event every 5 seconds",
    "dev": "the services, restarted when their files change",
    "verify": "the checklist against a running stack",
    "audit": "the slots expected and stored over a span",
    "credentials": "how to connect a client of your own to the stack in Compose",
    "forward": "another machine's port on this one, for tools",
    "dead-letters": "what could not become an event: list, show, replay, discard",
}


def main(argv: list[str]) -> int:
    """Run the command, which is the module of that name, its dashes underscores there."""
    if argv and argv[0] in _COMMANDS:
        status: int = importlib.import_module(f"stack.{argv[0].replace('-', '_')}").run(argv[1:])
        return status
    wanted = argv[:1] in (["-h"], ["--help"])
    usage = [f"  {name:14}{text}" for name, text in _COMMANDS.items()]
    print("usage: python -m stack COMMAND [--help]", *usage, sep="\n", file=sys.stdout if wanted else sys.stderr)
    return 0 if wanted else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
