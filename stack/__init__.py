"""The stack from this machine: run it without Docker, verify any running one, and test against it."""
