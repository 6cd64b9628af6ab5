"""What `make bench` runs: each module is a benchmark that prints its figures."""
