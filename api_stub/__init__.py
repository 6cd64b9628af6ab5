"""The subscriber: stores each CRYPTO_UPDATE event in MongoDB, and shows what is stored."""
