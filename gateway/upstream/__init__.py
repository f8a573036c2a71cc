"""The way to Claude: connections, time limits, retries."""
