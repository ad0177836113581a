"""A section of the configuration: typed keys, each with a docstring; unknown keys are refused."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the TOML file. Frozen, and valid once constructed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


def as_tuple(listed: object) -> object:
    """TOML has lists where sections, being frozen, have tuples."""
    return tuple(listed) if isinstance(listed, list) else listed
