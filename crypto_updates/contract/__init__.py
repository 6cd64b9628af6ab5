"""The event as documents for other programs, made from the code: `make contract` writes them into docs/."""
