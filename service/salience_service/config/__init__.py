"""The configuration of a server: a file for each section, one TOML file for all."""

from salience_service.config.reading import read_config
from salience_service.config.serve import ServeConfig

__all__ = ["ServeConfig", "read_config"]
