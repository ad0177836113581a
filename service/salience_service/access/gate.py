"""The gate: what a caller shows, and the principal it shows them to be."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from salience_service.access.client_certificate import client_certificate
from salience_service.access.jwt_tokens import IssuerKeys, read_keys, subject_of
from salience_service.access.principal import ANONYMOUS, Call, Permissions, Principal
from salience_service.access.tokens import TokenTable, read_tokens, read_tokens_again
from salience_service.access.watched import Watched
from salience_service.config.access import AccessConfig, PrincipalConfig
from salience_service.errors import Unauthenticated

LONGEST_TOKEN = 8192
"""Characters; gRPC bears no longer metadata by default."""

HOW = "send the metadata authorization: Bearer TOKEN, or a client certificate of a principal"


@dataclass(frozen=True)
class Shown:
    """What a caller shows.

    Attributes:
        authorization: every value of that metadata key; more than one is refused.
        certificate: of the connection, in PEM, its signatures checked; None without one.
    """

    authorization: tuple[str, ...] = ()
    certificate: bytes | None = None


class Gate(Protocol):
    """Says who calls."""

    def caller(self, shown: Shown, /) -> Principal:
        """The principal that is shown.

        Raises:
            Unauthenticated: nothing good was shown.
        """
        ...


class OpenGate:
    """No identity is configured: everyone is the same.

    Args:
        everyone: who that is.
    """

    def __init__(self, everyone: Principal = ANONYMOUS) -> None:
        self._everyone = everyone

    def caller(self, _: Shown) -> Principal:
        """The one principal there is."""
        return self._everyone


class GuardedGate:
    """Lets those in that `[access]` names. Safe from any thread.

    A token that is sent must be good, also beside a good certificate.

    Args:
        config: who is known, and by what.
        now: the clock, UTC.

    Raises:
        ConfigRefused: the file of tokens or keys cannot be used.
    """

    def __init__(
        self, config: AccessConfig, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._now = now
        self._jwt = config.jwt
        known = {one.name: _principal(one) for one in config.principals}
        self._by_name = known
        self._by_certificate = _index(config, known, lambda one: one.certificates)
        self._by_subject = _index(config, known, lambda one: one.jwt_subjects)
        self._tokens = watched_tokens(config)
        self._keys = watched_keys(config)

    def caller(self, shown: Shown) -> Principal:
        """The principal that a token shows, or else the certificate."""
        if len(shown.authorization) > 1:
            raise Unauthenticated("there are several authorization values: send one")
        if shown.authorization:
            return self._by_authorization(shown.authorization[0])
        if shown.certificate is not None:
            return self._of_certificate(shown.certificate)
        raise Unauthenticated(f"the call shows no one: {HOW}")

    def _by_authorization(self, value: str) -> Principal:
        scheme, _, token = value.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > LONGEST_TOKEN:
            raise Unauthenticated(f"authorization is not of the form Bearer TOKEN: {HOW}")
        known = self._of_signed(token) if token.count(".") == 2 else self._of_static(token)
        if known is None:
            # Not why: whoever guesses learns nothing.
            raise Unauthenticated(
                "the token is not accepted: it is unknown, has ended or is meant for another server"
            )
        return known

    def _of_static(self, token: str) -> Principal | None:
        owner = self._tokens.value.owner(token, self._now()) if self._tokens else None
        return None if owner is None else self._by_name[owner]

    def _of_signed(self, token: str) -> Principal | None:
        if self._keys is None or self._jwt is None:
            return None
        subject = subject_of(token, self._keys.value, self._jwt)
        return None if subject is None else self._by_subject.get(subject)

    def _of_certificate(self, pem: bytes) -> Principal:
        certificate = client_certificate(pem)
        names = certificate.names if certificate and certificate.holds(self._now()) else ()
        known = {self._by_certificate[name] for name in names if name in self._by_certificate}
        if len(known) != 1:
            raise Unauthenticated(
                "the client certificate is not accepted: it has ended, or is not that of one "
                "principal"
            )
        return known.pop()


def gate_of(config: AccessConfig | None, everyone: Principal = ANONYMOUS) -> Gate:
    """The gate that a configuration asks for; `everyone`: who calls where it asks for none.

    Raises:
        ConfigRefused: the file of tokens or keys cannot be used.
    """
    return OpenGate(everyone) if config is None else GuardedGate(config)


def _principal(one: PrincipalConfig) -> Principal:
    calls = frozenset(map(Call, one.calls))
    return Principal(one.name, Permissions(one.models, one.methods, calls))


def _index(
    config: AccessConfig,
    known: dict[str, Principal],
    names: Callable[[PrincipalConfig], tuple[str, ...]],
) -> dict[str, Principal]:
    return {name: known[one.name] for one in config.principals for name in names(one)}


def watched_tokens(config: AccessConfig) -> Watched[TokenTable] | None:
    """The file of tokens, read again when it changes; None where there is none.

    Raises:
        ConfigRefused: it cannot be used at the start.
    """
    if not config.tokens_file:
        return None
    path = Path(config.tokens_file)
    names = frozenset(one.name for one in config.principals)
    read_tokens(path, names)  # Stricter than when it is read again.
    return Watched("the token file", [path], lambda: read_tokens_again(path, names))


def watched_keys(config: AccessConfig) -> Watched[IssuerKeys] | None:
    """The file of an issuer's keys; likewise."""
    if config.jwt is None:
        return None
    path = Path(config.jwt.keys_file)
    return Watched("the file of JWT keys", [path], lambda: read_keys(path))
