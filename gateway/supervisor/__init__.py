"""Several workers as one gateway: a small process that starts, watches and exchanges them; see decision 17."""
