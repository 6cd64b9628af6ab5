"""The stack as a whole: run it without Docker, set it up, verify any running one."""
