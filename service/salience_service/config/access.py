"""`[access]`: who may call, how they show who they are, and what they may ask."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from salience_service.config.section import Section, as_tuple

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""Signatures by a key of which the server has only the public half; never "none", never a secret
that both sides hold, so that no public key can pass for one."""

PRINCIPAL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
CERTIFICATE_KINDS = ("CN", "DNS", "URI", "EMAIL")

_Word = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Words = Annotated[tuple[_Word, ...], BeforeValidator(as_tuple)]


class JwtConfig(Section):
    """`[access.jwt]`: tokens that an identity provider signs. They must state when they end."""

    issuer: str = Field(min_length=1)
    """What `iss` of a token must be."""

    audience: str = Field(min_length=1)
    """What `aud` of a token must be or hold: a token for another service is none for this one."""

    keys_file: str = Field(min_length=1)
    """The issuer's public keys: a JWKS (JSON) or PEM file, read again when it changes. Nothing is
    ever fetched from a URL."""

    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(as_tuple)] = Field(
        ("RS256", "ES256"), min_length=1
    )
    """The signatures accepted."""

    claim: str = Field("sub", min_length=1)
    """The claim whose text says who calls; see `jwt_subjects` of a principal."""

    leeway_seconds: float = Field(30, ge=0, le=300)
    """How far the clocks of issuer and server may be apart."""


class PrincipalConfig(Section):
    """`[[access.principals]]`: someone the server knows, and what they may ask."""

    name: str = Field(pattern=PRINCIPAL_NAME)
    """As lines of the token file, audit, metrics and logs write it."""

    certificates: _Words = ()
    """Client certificates that show this principal, by one of their names: "CN:…", "DNS:…",
    "URI:…" or "EMAIL:…", exactly."""

    jwt_subjects: _Words = ()
    """Signed tokens that show this principal, by the text of their claim, exactly."""

    models: _Words = ("*",)
    """Patterns (`*`, `?`, `[a-c]`) of the models it knows of; others do not exist for it."""

    methods: _Words = ("*",)
    """Patterns of the explanation methods it may ask for."""

    calls: Annotated[
        tuple[Literal["describe", "explain", "infer", "admin"], ...], BeforeValidator(as_tuple)
    ] = ("describe", "explain", "infer")
    """What it may want of the server: list and describe models, explain, predict over the Open
    Inference Protocol, administer the server."""

    @field_validator("name")
    @classmethod
    def _is_somebody(cls, name: str) -> str:
        if name in ("anonymous", "nobody"):
            raise ValueError("the server itself uses this name: choose another")
        return name

    @field_validator("certificates")
    @classmethod
    def _have_a_kind(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            kind, colon, text = name.partition(":")
            if kind not in CERTIFICATE_KINDS or not colon or not text:
                raise ValueError(f"{name!r}: write CN:…, DNS:…, URI:… or EMAIL:…")
        return names


class AccessConfig(Section):
    """Where this section is given, every call but health needs a principal."""

    tokens_file: str = ""
    """Lines NAME sha256:DIGEST [until:YYYY-MM-DD], as `salience token new NAME` prints them: who
    sends the token is that principal. Read again when it changes. Empty = none."""

    jwt: JwtConfig | None = None
    """Tokens that an identity provider signs."""

    principals: Annotated[tuple[PrincipalConfig, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1, max_length=1000
    )
    """Who is known."""

    @property
    def by_certificate(self) -> bool:
        """Whether some principal is known by a client certificate."""
        return any(principal.certificates for principal in self.principals)

    @property
    def by_token(self) -> bool:
        """Whether callers may send tokens."""
        return bool(self.tokens_file) or self.jwt is not None

    @model_validator(mode="after")
    def _is_one_of_each(self) -> Self:
        known = self.principals
        _refuse_doubles("principal", (one.name for one in known))
        _refuse_doubles("certificate", (name for one in known for name in one.certificates))
        _refuse_doubles("JWT subject", (name for one in known for name in one.jwt_subjects))
        return self

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if not self.by_token and not self.by_certificate:
            raise ValueError(
                "nobody could show who they are: give tokens_file, jwt, or certificates of "
                "principals"
            )
        if self.jwt is None and any(one.jwt_subjects for one in self.principals):
            raise ValueError("jwt_subjects needs access.jwt")
        return self


def _refuse_doubles(what: str, names: Iterable[str]) -> None:
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ValueError(f"{what} {doubled[0]!r} is there twice: it can show only one principal")
