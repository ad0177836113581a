"""Opens what the configuration says of the audit."""

from collections.abc import Iterator
from contextlib import contextmanager

from salience_service.audit.auditor import Auditor
from salience_service.audit.keys import read_keys
from salience_service.audit.trail import Trail, Upkeep
from salience_service.config.audit import AuditConfig


@contextmanager
def audited(config: AuditConfig | None) -> Iterator[Auditor | None]:
    """The auditor of a server while the block lasts; none where nothing is to be recorded.

    Raises:
        ConfigRefused: the key or the directory cannot be used.
    """
    if config is None:
        yield None
        return
    auditor = auditor_of(config)
    try:
        yield auditor
    finally:
        auditor.close()


def auditor_of(config: AuditConfig) -> Auditor:
    """The auditor of a server, which whoever asked for it closes.

    Raises:
        ConfigRefused: the key or the directory cannot be used.
    """
    keys = read_keys(config.key_path)
    upkeep = Upkeep(
        rotate_bytes=config.rotate_bytes,
        keep_files=config.keep_files,
        durable=config.durable,
        anchor_lines=config.anchor_lines,
    )
    trail = Trail(config.place, keys.chain, upkeep)
    return Auditor(trail, keys, refuses=config.on_failure == "refuse")
