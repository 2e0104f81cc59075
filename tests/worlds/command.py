"""A command of the shell, run in this process."""

from typer.testing import CliRunner, Result

from compodiff.cli import app


def run_command(*arguments: object) -> Result:
    """Run a command that ends well; raise its error otherwise."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exit_code:
        raise result.exception or AssertionError(result.output)
    return result
