"""The command line, as tests call it."""

import pytest

from moestat.cli import main


@pytest.fixture
def moestat(capsys):
    """Run a command line; return exit code, output, error output."""

    def call(*args):
        with pytest.raises(SystemExit) as done:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return done.value.code, captured.out, captured.err

    return call
