"""`crypto-updates fault TARGET FAULT [SECONDS]`: does one thing to the running harness, or to a demo.

    crypto-updates fault                      the targets, and what can be done to each
    crypto-updates fault nats down 25         returns when it is over
    crypto-updates fault link cut             lasts until: crypto-updates fault link heal

To go on meanwhile, put it in the background with an `&`. Ctrl-C ends the command, and not the fault.
"""

from argparse import ArgumentParser
from functools import partial
from urllib.parse import quote

from stack import control


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.epilog = control.HOW
    parser.add_argument("target", nargs="?", help="such as nats, mongo, link")
    parser.add_argument("fault", nargs="?", help="such as down, freeze, cut")
    parser.add_argument("seconds", nargs="?", type=float, help="how long (default: until it is undone; in a demo 5)")
    parser.add_argument("--delay", type=float, metavar="SECONDS", help="of a slow link: for each piece (default: 0.2)")
    parser.add_argument("--size", type=int, metavar="BYTES", help="of a slow link: of a piece at most (default: 65536)")
    options = vars(parser.parse_args(argv))
    target = options.pop("target")
    if target is None:
        return control.told(_show)
    if options["fault"] is None:
        parser.error(f"the fault of {target} is missing; `crypto-updates fault` shows what there is")
    asked = {name: value for name, value in options.items() if value is not None}
    return control.told(partial(control.ask, "POST", f"/faults/{quote(target, safe='', errors='replace')}", asked))


def _show() -> None:
    print(*(f"{target:12}{' '.join(faults)}" for target, faults in control.ask("GET", "/faults").items()), sep="\n")
