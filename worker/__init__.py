"""The publisher: a CRYPTO_UPDATE event for each slot of the schedule."""
