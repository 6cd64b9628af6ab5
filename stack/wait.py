"""`crypto-updates wait WHAT`: returns when the running harness has seen it.

    crypto-updates wait subscribers crypto.update    your server has subscribed to this subject
    crypto-updates wait reactions --count 3          it has made 3 writes to MongoDB
    crypto-updates wait published --within 60        an event has passed

The exit status is 1 when the time is over.
"""

from argparse import ArgumentParser
from functools import partial

from stack import control


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.epilog = control.HOW
    parser.add_argument("what", choices=("subscribers", "published", "reactions"))
    parser.add_argument("subject", nargs="?", help="of the subscribers (default: crypto.updates)")
    parser.add_argument("--count", type=int, metavar="N", help="how many at least (default: 1)")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="how long to wait (default: 10)")
    parser.add_argument("--still", type=float, metavar="SECONDS", help="and then no more than N for so long")
    wanted = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    return control.told(partial(control.ask, "POST", "/wait", wanted))
