"""The `salience` command, run inside the test's own process."""

from typer.testing import CliRunner

from salience_client.commands import app


def said(*words: object, exit_code: int = 0) -> str:
    """What the command said of these words, its exception too; it must end with the exit code."""
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.output + str(result.exception or "")
