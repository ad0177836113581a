"""`[audit]`: the record of what is done, and what happens where none can be written."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from salience_service.config.section import Section


class AuditConfig(Section):
    """The table `[audit]`. Where there is none, nothing is recorded."""

    directory: str = Field(min_length=1)
    """Where the trail lies: one server's alone, made with mode 0700 where missing."""

    key_file: str = Field(min_length=1)
    """The trail's secret, as `salience audit keygen` makes it. Whoever has it can forge the trail
    and recognise an image in it: keep it from all but the server and who verifies."""

    on_failure: Literal["refuse", "continue"] = "refuse"
    """Where a record cannot be written: "refuse" = nothing is answered, nor done for
    administrators (UNAVAILABLE); "continue" = it is, and the log says so."""

    durable: bool = True
    """Wait until a record is on the disk before the answer goes on. False = it is there within
    seconds, and a machine that loses its power loses the last of them."""

    rotate_bytes: int = Field(64 * 2**20, ge=4096, le=2**34)
    """Bytes after which a file is finished and the next begun."""

    keep_files: int = Field(0, ge=0, le=10**6)
    """Full files kept, the one that is written among them, or as many bytes in short ones, as a
    stop leaves them: the oldest are deleted when the next is begun; 0 = all, for ever."""

    anchor_lines: int = Field(1000, ge=1, le=10**6)
    """Lines after which the log is told an anchor, which proves how far the trail had come."""

    @property
    def place(self) -> Path:
        """The directory."""
        return Path(self.directory)

    @property
    def key_path(self) -> Path:
        """The file of the secret."""
        return Path(self.key_file)
