"""What the standard library and NumPy raise of a zip archive that cannot be unpacked."""

import zipfile
import zlib

NOT_UNPACKABLE = (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError)
"""RuntimeError: encrypted, or of a compression that is not at hand. EOFError: cut short."""
