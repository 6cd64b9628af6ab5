"""What the worker, the API stub and the stack share: the one name that an installation adds."""
