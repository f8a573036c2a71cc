"""Client protocols: how a request becomes one Claude call, and how Claude's events become the client's frames."""
