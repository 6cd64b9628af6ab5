"""Hypothesis has no deadlines here: they are for hangs, which each test's own timeout ends."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
