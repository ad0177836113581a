"""`[connections]`: what a connection may cost, and when one that is of no use is closed."""

from pydantic import Field

from salience_service.config.section import Section


class ConnectionsConfig(Section):
    """Of each port; whoever connects has not shown yet who they are."""

    max_connections: int = Field(512, ge=1, le=100_000)
    """Connections at a time, of callers known and unknown, on each address of each port; one more
    is closed before anything is read of it. By default half of the 1,024 files that many systems
    let a process have open: the audit, models and certificates need theirs."""

    max_streams: int = Field(256, ge=1, le=2**31 - 1)
    """Calls of one connection at a time; its client holds further ones back until one ends."""

    max_calls: int = Field(256, ge=1, le=100_000)
    """Calls of all connections at a time, health aside; one more is refused with
    RESOURCE_EXHAUSTED before its message is read."""

    max_metadata_bytes: int = Field(16 * 1024, ge=8 * 1024, le=2**20)
    """Bytes of a call's metadata, tokens among them; a call with more is refused with
    RESOURCE_EXHAUSTED before anything looks at it."""

    handshake_seconds: float = Field(20, ge=0.1, le=3600)
    """How long a new connection may take to say what it is, TLS included; then it is closed."""

    keepalive_seconds: float = Field(30, ge=1, le=7200)
    """How long a connection may be silent until it is asked whether it is still there."""

    keepalive_timeout_seconds: float = Field(10, ge=0.1, le=600)
    """How long its answer may take; then the connection is closed and its explanations end."""

    idle_seconds: float = Field(300, ge=1, le=10**6)
    """How long a connection may be without a call; then it is closed. A client that comes again
    connects anew without a word."""

    age_seconds: float = Field(3600, ge=1, le=10**6)
    """How old a connection may get, give or take a tenth; then it takes no more calls, and its
    client connects anew: to a renewed certificate, or to another server behind one name."""

    age_grace_seconds: float = Field(3600, ge=0.1, le=10**6)
    """How long calls may still take on a connection that is too old; then they are ended. Longer
    than the longest ExplainMany call."""

    slow_sender_seconds: float = Field(120, ge=0.1, le=3600)
    """How long the message of a call may take to arrive; an ExplainMany call may be silent as
    long as it likes between its messages."""

    slow_reader_seconds: float = Field(60, ge=0.1, le=3600)
    """How long a caller may take to read one message of an answer, at most 1 MiB; then its
    explanation ends and what it holds is given back."""
