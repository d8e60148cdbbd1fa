"""``openqoe completion``: prints completion scripts for shells."""

import click
from click.shell_completion import ShellComplete, get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      eval "$(openqoe completion bash)"                    # in ~/.bashrc
      eval "$(openqoe completion zsh)"                     # in ~/.zshrc
      openqoe completion fish > ~/.config/fish/completions/openqoe.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    script = found(context.find_root().command, {}, "openqoe", "_OPENQOE_COMPLETE")
    # The base class's method: bash's own runs the installed bash to read its version.
    click.echo(ShellComplete.source(script))
