"""`python -m tests.chaos`: a run of faults drawn from a seed. Exits 1 if the check finds a violation, and 2 if this
machine lacks something for it.
"""

import argparse
import json
import logging
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from crypto_updates.local import cluster
from stack import console
from tests.chaos.faults import FAULTS, LONGER
from tests.chaos.loss import CLUSTER
from tests.chaos.run import CLOCKS, Options, run
from tests.machine import LackError

EACH = "each"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", default="", help="what the faults are drawn from (default: a random one)")
    parser.add_argument("--seconds", type=float, default=600, help="how long, about (600)")
    parser.add_argument(
        "--workers", type=int, default=1, choices=range(1, len(CLOCKS) + 1), help="clocks up to 20 s apart"
    )
    parser.add_argument("--stubs", type=int, default=1, help="API stubs")
    parser.add_argument(
        "--members",
        type=int,
        default=1,
        choices=(1, cluster.SIZE),
        help="nats-servers in a cluster, and mongods in a replica set (1); with 3, as root, with 2 workers and 2 API"
        " stubs or more, one of each kind is lost every 20 s",
    )
    parser.add_argument("--rate", type=float, default=250, help="events a second beside the workers' (250)")
    parser.add_argument("--kills", type=int, default=0, help="instead of a plan: so many SIGKILLs of each component")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        choices=[*FAULTS, *LONGER, *CLUSTER, EACH],
        metavar="NAME",
        help="only these; with --members 3 one after the other, and 'each' is all of them",
    )
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    given = parser.parse_args()
    known = [*FAULTS, *LONGER] if given.members == 1 else CLUSTER
    given.fault = known if given.fault == [EACH] and given.members > 1 else given.fault
    if missing := [name for name in given.fault if name not in known]:
        parser.error(f"--fault '{missing[0]}': not with --members {given.members}; accepted: {', '.join(known)}")
    if given.members > 1 and min(given.workers, given.stubs) < 2:
        parser.error(f"--members {given.members}: it loses one of each, so it needs --workers 2 and --stubs 2 at least")
    return given


def main() -> int:
    given = arguments()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    seed = given.seed or secrets.token_hex(4)
    options = Options(
        seed, given.seconds, given.workers, given.stubs, given.members, given.rate, given.kills, given.fault
    )
    console.say(options.command)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    try:
        report = run(options, folder)
    except LackError as error:
        console.say(str(error))
        return 2
    console.say(str(report))
    if given.report:
        given.report.write_text(json.dumps(report.json(), indent=2) + "\n", encoding="utf-8")
    if report.violations:
        console.say(f"logs and history: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
