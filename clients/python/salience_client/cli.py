"""The entry point of the `salience` command: errors in one line, exit codes 0, 1 and 2."""

import os
import sys
from io import TextIOWrapper
from typing import NoReturn

from salience_client.errors import MissingExtra, SalienceError
from salience_client.extras import require

GRPC_VERBOSITY = "GRPC_VERBOSITY"
"""What gRPC itself writes to stderr, https://grpc.github.io/grpc/core/md_doc_environment_variables.html."""


def main() -> None:
    """Runs the command.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage or a package that the command needs is
    not installed; those of `salience serve` are its own.
    """
    if sys.argv[1:2] == ["serve"] and GRPC_VERBOSITY not in os.environ:
        _begin_anew_with_a_quiet_grpc()
    if isinstance(sys.stdout, TextIOWrapper):  # As stderr does, whatever its encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        require("salience_client.commands", "cli", "the salience command").app()
    except (SalienceError, OSError) as error:
        _end(error, 1)
    except MissingExtra as error:
        _end(error, 2)  # "1" of `salience health` would say that the server does not serve.


def _end(error: Exception, code: int) -> NoReturn:
    """In one line."""
    print("salience: " + " ".join(str(error).split()), file=sys.stderr)
    sys.exit(code)


def _begin_anew_with_a_quiet_grpc() -> None:
    """By itself gRPC writes a line for each TLS handshake that a stranger breaks off.

    It writes from the threads that serve: 1,500 strangers stopped a server whose stderr nobody
    read. It looks at the variable once, when it is imported, and it is by now; half a second.
    """
    os.environ[GRPC_VERBOSITY] = "ERROR"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
