"""`crypto-updates COMMAND`, and `python -m stack COMMAND` in a clone: the commands for a person at a terminal."""

import argparse
import importlib
import sys

from stack import console

# The module of each command, and what it does.
_COMMANDS = {
    "demo": ("stack.demo", "the whole stack on this machine, with a simulated market and an event every 5 s"),
    "dev": ("stack.dev", "the services, restarted when their files change"),
    "check-server": ("stack.judge", "the verdict on an API server of your own that is triggered over NATS"),
    "verify": ("stack.check.verify", "the checklist against a running stack"),
    "audit": ("stack.check.audit", "the slots expected and stored over a span"),
    "export": ("stack.export.export", "the stored events as NDJSON or CSV, for what is to be kept"),
    "dead-letters": ("stack.letters.dead_letters", "what could not become an event: list, show, replay, discard"),
    "validate": ("stack.validate", "whether the API stub would store a file's body as an event"),
    "connect": ("stack.connect", "how to connect a client of your own to the stack in Compose"),
    "harness": ("stack.harness", "an event source, a market and faults for an API server of your own, in any language"),
    "publish": ("stack.publish", "one event by hand, to try a consumer"),
    "wait": ("stack.wait", "until the running harness has seen subscribers, events or writes"),
    "market": ("stack.market", "CoinGecko's paths with a simulated market, for servers that call it themselves"),
    "fault": ("stack.fault", "one fault by hand, to the running harness or a demo"),
    "forward": ("stack.forward", "another machine's port on this one, for tools"),
    "credentials": ("stack.setup.credentials", "makes the secrets of the stack in Compose"),
    "provision": ("stack.setup.provision", "makes stream, consumer, replica set, indexes and users"),
}


def main(argv: list[str]) -> int:
    """Run the command, and return the exit status. The module is imported only when its command is run."""
    if argv and argv[0] in _COMMANDS:
        return _run(*argv)
    wanted = argv[:1] in (["-h"], ["--help"])
    usage = [f"  {name:14}{text}" for name, (_, text) in _COMMANDS.items()]
    print("usage: crypto-updates COMMAND [--help]", *usage, sep="\n", file=sys.stdout if wanted else sys.stderr)
    return 0 if wanted else 2


def _run(name: str, *argv: str) -> int:
    try:
        command = importlib.import_module(_COMMANDS[name][0])
        parser = argparse.ArgumentParser(
            prog=f"crypto-updates {name}",
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        status: int = command.run(parser, [*argv])
    except KeyboardInterrupt:  # Ctrl-C, in a command that leaves nothing to end, or as it begins
        return console.INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
