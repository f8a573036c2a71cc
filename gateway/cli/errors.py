"""How a command ends that cannot do what it was asked for."""

from __future__ import annotations

from typing import IO, Any

import click


class OperatorError(click.ClickException):
    """Ends a command with ``error: …`` and exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print one line per problem on stderr."""
        for line in self.message.splitlines():
            click.echo(f"error: {line}", file=file, err=True)
