"""Where holds are kept: one process' memory, later Redis."""
