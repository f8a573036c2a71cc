"""The command line. Each command is a file; what it needs is imported when it runs, so that ``--help`` is quick."""

from __future__ import annotations

from importlib import import_module

import click

from gateway import __version__

_COMMANDS = {
    "serve": ("gateway.cli.serve", "Run the gateway."),
    "demo": ("gateway.cli.demo", "Run the gateway with a pretend Claude and a ready-made key."),
    "simulate": ("gateway.cli.simulate", "Run the pretend Claude alone."),
    "tenants": ("gateway.cli.tenants", "Create, list, suspend and resume tenants."),
    "keys": ("gateway.cli.keys", "Create, list, revoke and rotate API keys."),
    "quotas": ("gateway.cli.quotas", "Show where limits stand; raise them for a while."),
    "usage": ("gateway.cli.usage", "Show what was used and what it cost; compare it with the limits; prune."),
    "users": ("gateway.cli.users", "Forget end users."),
    "db": ("gateway.cli.db", "Check, upgrade and back up the database."),
    "config": ("gateway.cli.config", "Check the configuration."),
}


class _Lazy(click.Group):
    """Imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the commands' names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """Return a command by its name."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="tokenweir")
def main() -> None:
    """Tokenweir: a self-hosted gateway in front of Claude."""
