"""`[logging]`: how and how much the server writes to stderr."""

from typing import Literal

from salience_service.config.section import Section


class LoggingConfig(Section):
    """A line for each explanation and refusal, and for what happens to the server."""

    format: Literal["text", "json"] = "text"
    """"text" to be read by people; "json" for machines: one object a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important line that is written: "info" has one for each explanation, "warning"
    only those that failed by the server's fault."""
