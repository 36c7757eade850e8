"""``refvps completion``."""

from __future__ import annotations

import click


@click.command(epilog='Example: eval "$(refvps completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the tab completion script of your shell."""
    from click.shell_completion import get_completion_class

    from refvps.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click ships all three
    click.echo(kind(cli, {}, "refvps", "_REFVPS_COMPLETE").source())
