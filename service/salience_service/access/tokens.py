"""Static tokens: a file of their SHA-256 digests, and whose a token is.

A token is 256 random bits, so its plain digest tells nobody anything; the server has
nothing else of it.
"""

import hashlib
import hmac
import logging
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from salience_service.access.files import read_named
from salience_service.config.access import PRINCIPAL_NAME
from salience_service.errors import ConfigRefused

PREFIX = "salience_"
"""Of every token, so that scanners for leaked secrets can find one."""
MOST_TOKENS = 1000
"""Each is compared with what a caller sends: a thousand take a third of a millisecond."""
_RANDOM_BYTES = 32
_LINE = re.compile(r"(?P<name>\S+)\s+sha256:(?P<digest>[0-9a-f]{64})(\s+until:(?P<until>\S+))?")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """A line of the token file.

    Attributes:
        name: the principal. digest: SHA-256 of the token.
        ends: when it stops to hold, or None.
    """

    name: str
    digest: bytes
    ends: datetime | None


@dataclass(frozen=True)
class NewToken:
    """A token just made: `secret` for its owner, `line` for the server's file."""

    secret: str
    line: str


def new_token(name: str, until: date | None = None) -> NewToken:
    """A token of 256 random bits for a principal.

    Args:
        name: the principal.
        until: the last day on which it holds, UTC; None = it has no end.

    Raises:
        ConfigRefused: no principal can have this name.
    """
    if not re.fullmatch(PRINCIPAL_NAME, name):
        raise ConfigRefused(
            f"{name[:64]!r} is no principal's name: 1 to 64 letters, digits, '.', '_', '@' or '-'"
        )
    secret = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    digest = hashlib.sha256(secret.encode("ascii")).hexdigest()
    end = [] if until is None else [f"until:{until.isoformat()}"]
    return NewToken(secret, "  ".join([name, f"sha256:{digest}", *end]))


class TokenTable:
    """The tokens of a file.

    Args:
        tokens: what the file holds.
    """

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._tokens = tuple(tokens)

    def owner(self, secret: str, now: datetime) -> str | None:
        """The principal whose token this is, where it holds now; None for any other text."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        found: Token | None = None
        for token in self._tokens:  # All of them, always: time tells nothing of the place.
            if hmac.compare_digest(token.digest, digest):
                found = token
        if found is None or (found.ends is not None and now >= found.ends):
            return None
        return found.name


def read_tokens(path: Path, principals: frozenset[str]) -> TokenTable:
    """The tokens of a file; empty lines and lines after # are left out.

    Args:
        path: the file.
        principals: the names that lines may bear.

    Raises:
        ConfigRefused: no bytes, a line that is none, a name that is no principal, a token twice,
            or more than `MOST_TOKENS`.
    """
    tokens = _read(path)
    for token in tokens:
        if token.name not in principals:
            raise ConfigRefused(f"access.tokens_file: {token.name!r} is none of access.principals")
    return TokenTable(tokens)


def read_tokens_again(path: Path, principals: frozenset[str]) -> TokenTable:
    """The same of a file that has changed; lines with other names are left out, and logged.

    A token for a principal that the server knows once it starts again keeps none from being
    withdrawn before.

    Raises:
        ConfigRefused: as `read_tokens`, but for names.
    """
    tokens = _read(path)
    strange = {token.name for token in tokens} - principals
    if strange:
        _log.error(
            "access.tokens_file: %d of its names are none of access.principals, such as %r: their "
            "tokens are not accepted; take the lines out, or add the principals and start again",
            len(strange),
            min(strange)[:64],
        )
    return TokenTable(token for token in tokens if token.name in principals)


def _read(path: Path) -> tuple[Token, ...]:
    data = read_named(path, "access.tokens_file")
    if not data:  # Taken as it is, all callers would be strangers until it is written.
        raise ConfigRefused(
            f"access.tokens_file: {path.name} is empty, as a file is while it is written or where "
            "the disk is full; if no token is to hold, write a line that begins with #"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ConfigRefused(f"access.tokens_file: {path.name} is not UTF-8") from fault
    tokens = tuple(_tokens(text))
    if len(tokens) > MOST_TOKENS:
        raise ConfigRefused(f"access.tokens_file: {len(tokens)} tokens, at most {MOST_TOKENS}")
    if max(Counter(token.digest for token in tokens).values(), default=0) > 1:
        raise ConfigRefused("access.tokens_file: a token is there twice, but can show only one")
    return tokens


def _tokens(text: str) -> Iterator[Token]:
    for number, line in enumerate(text.splitlines(), start=1):
        stated = line.partition("#")[0].strip()
        if stated:
            yield _token(stated, number)


def _token(line: str, number: int) -> Token:
    parts = _LINE.fullmatch(line)
    try:
        if parts is None:
            raise ValueError("not NAME sha256:DIGEST [until:YYYY-MM-DD]")
        until = parts["until"]
        ends = None if until is None else _day_after(date.fromisoformat(until))
    except (ValueError, OverflowError) as fault:
        # The line itself stays out of the text: somebody may have put a token there.
        raise ConfigRefused(
            f"access.tokens_file: line {number} is not what `salience token new` prints: "
            "NAME sha256:DIGEST [until:YYYY-MM-DD]"
        ) from fault
    return Token(parts["name"], bytes.fromhex(parts["digest"]), ends)


def _day_after(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
