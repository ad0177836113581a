"""The version of the software, as installed: told to callers, and part of what an answer is of."""

from importlib.metadata import version

SOFTWARE_VERSION = version("salience")
