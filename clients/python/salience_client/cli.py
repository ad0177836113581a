"""The entry point of the `salience` command: errors in one line, exit codes 0, 1 and 2."""

import sys

from salience_client.errors import MissingExtra, SalienceError
from salience_client.extras import require


def main() -> None:
    """Runs the command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""
    try:
        require("salience_client.commands", "cli", "the salience command").app()
    except (SalienceError, MissingExtra, OSError) as error:
        sys.exit("salience: " + " ".join(str(error).split()))


if __name__ == "__main__":
    main()
