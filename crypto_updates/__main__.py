"""`crypto-updates COMMAND`, the same as `python -m crypto_updates COMMAND`: runs the command of the stack."""

import importlib
import sys

from crypto_updates.local import programs


def main() -> int:
    # First on the path, so that a `stack` of the user's own is not taken for it.
    sys.path.insert(0, str(programs.FOLDER))
    status: int = importlib.import_module("stack.__main__").main(sys.argv[1:])
    return status


if __name__ == "__main__":
    sys.exit(main())
