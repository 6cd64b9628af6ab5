"""Sees to it that a NATS server which is not healthy any more, as after a full disk, is restarted."""
