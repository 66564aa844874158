"""The reloaded configuration, handed to workers in memory, because only root may be able to read the file."""

from __future__ import annotations

import json
import os
import zlib

from forkchat import config as configuration
from forkchat.config import Config

#: Bytes of the CRC-32 that precedes the text.
_CHECKSUM = 4


class Handover:
    """A file that exists only in memory.

    The master writes the configuration, then sends SIGHUP. The workers then read it.
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("forkchat-configuration")

    def write(self, config: Config) -> None:
        text = json.dumps(configuration.values(config)).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, zlib.crc32(text).to_bytes(_CHECKSUM, "big") + text, 0)

    def read(self) -> Config | None:
        """Return the configuration, or None while a newer one is being written, whose SIGHUP follows."""
        data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        checksum, text = data[:_CHECKSUM], data[_CHECKSUM:]
        if zlib.crc32(text).to_bytes(_CHECKSUM, "big") != checksum:
            return None
        return configuration.load(None, {}, json.loads(text))
