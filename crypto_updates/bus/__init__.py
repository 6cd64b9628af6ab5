"""What the worker and the API stub say to each other over NATS."""
