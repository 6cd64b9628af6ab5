"""Makes what the services rely on: stream, durable consumer, replica set, indexes. One shot, safe to run again."""
