"""The publisher: a CRYPTO_UPDATE event for each slot of the schedule."""

import os

# With this variable, which servers of several processes need, prometheus_client would keep its counts in files.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
