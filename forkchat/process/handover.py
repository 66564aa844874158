"""The configuration as workers read it again: only root may be allowed to read its file."""

from __future__ import annotations

import json
import os
import zlib

from forkchat import config as configuration
from forkchat.config import Config

_CHECKSUM = 4


class Handover:
    """A file in memory alone. The master writes the configuration, then sends HUP; workers read it."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("forkchat-configuration")

    def write(self, config: Config) -> None:
        text = json.dumps(configuration.values(config)).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, zlib.crc32(text).to_bytes(_CHECKSUM, "big") + text, 0)

    def read(self) -> Config | None:
        """The configuration; None while a newer one is being written, whose HUP is to come."""
        data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        checksum, text = data[:_CHECKSUM], data[_CHECKSUM:]
        if zlib.crc32(text).to_bytes(_CHECKSUM, "big") != checksum:
            return None
        return configuration.load(None, {}, json.loads(text))
