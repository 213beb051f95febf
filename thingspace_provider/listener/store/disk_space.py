"""How much of a disk has to be free for a listener to call itself ready."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from thingspace_provider.listener.settings.values import InvalidValue

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
AMOUNT = re.compile(r"(\d{1,15}) ?(KB|MB|GB|)|(\d{1,2}) ?%")


@dataclass(frozen=True)
class Space:
    """A part of the disk, or so many bytes."""

    bytes: int
    share: float

    def shortage(self, folder: Path) -> str:
        """What is wrong with a folder's disk, "" when enough is free."""
        disk = shutil.disk_usage(folder)
        needed = max(self.bytes, int(self.share * disk.total))
        if disk.free >= needed:
            return ""
        return f"the store's disk is full but for {disk.free // 10**6} MB; freeSpace asks for {needed // 10**6} MB"


def read_space(value: object) -> Space:
    """Bytes as a number, or a text as `100MB` or `5%`. Raises Wrong."""
    found = AMOUNT.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if not found:
        raise InvalidValue('must be a number of bytes, or an amount as "100MB", "2GB" or "5%"')
    return Space(0, int(found[3]) / 100) if found[3] else Space(int(found[1]) * UNITS[found[2]], 0)
