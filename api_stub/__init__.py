"""The subscriber: stores each CRYPTO_UPDATE event in MongoDB, and shows what is stored."""

import os

# With this variable, which servers of several processes need, prometheus_client would keep its counts in files.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
