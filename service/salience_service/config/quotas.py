"""`[quotas]`: how much a principal may ask in a minute and in a day."""

from collections import Counter
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from salience_service.config.section import Section, as_tuple

MOST_REQUESTS, MOST_ROWS = 10**6, 10**12


class PrincipalQuotaConfig(Section):
    """`[[quotas.principals]]`: other quotas for one principal; a key left out is as for all."""

    name: str
    """A principal of `[access]`, or "anonymous"."""

    requests_per_minute: int | None = Field(None, ge=0, le=MOST_REQUESTS)
    """As for all. 0 = any."""

    rows_per_minute: int | None = Field(None, ge=0, le=MOST_ROWS)
    """As for all. 0 = any."""

    rows_per_day: int | None = Field(None, ge=0, le=MOST_ROWS)
    """As for all. 0 = any."""


class QuotasConfig(Section):
    """For each principal, and where callers are anonymous for each address (of IPv6, each /64).

    A quota fills up evenly: who has used all of 60 requests a minute may ask one more each second.
    What is beyond is refused with RESOURCE_EXHAUSTED, and told when to come again.
    """

    requests_per_minute: int = Field(0, ge=0, le=MOST_REQUESTS)
    """Explanations (those of ExplainMany one by one) and predictions asked for, well-formed or
    not. 0 = any."""

    rows_per_minute: int = Field(0, ge=0, le=MOST_ROWS)
    """Rows (masked images, gradients) asked for, counted before any of them runs; those that are
    spared or cancelled later count too. 0 = any."""

    rows_per_day: int = Field(0, ge=0, le=MOST_ROWS)
    """The same for 24 hours. 0 = any."""

    principals: Annotated[tuple[PrincipalQuotaConfig, ...], BeforeValidator(as_tuple)] = Field(
        (), max_length=10_000
    )
    """Those who have other quotas than all."""

    @field_validator("principals")
    @classmethod
    def _each_once(
        cls, principals: tuple[PrincipalQuotaConfig, ...]
    ) -> tuple[PrincipalQuotaConfig, ...]:
        for name, count in Counter(each.name for each in principals).items():
            if count > 1:
                raise ValueError(f"{name!r} has {count} entries: give one")
        return principals
