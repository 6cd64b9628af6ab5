"""What the worker and the API stub say to each other, and the one place that talks to NATS."""
