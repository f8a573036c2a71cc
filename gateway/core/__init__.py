"""The pure rings: no I/O, no clock, no logging, no environment. What needs the time takes it as an argument."""
