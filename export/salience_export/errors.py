"""The error of the exporter: what cannot be exported, and what would help, in words."""


class ExportError(Exception):
    """A model that cannot be exported as asked; the message holds the value and the remedy."""
