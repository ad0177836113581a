"""`python -m salience_service.config`: prints the reference, `docs/configuration.md`."""

from salience_service.config.reference import reference

if __name__ == "__main__":
    print(reference(), end="")
