"""Free disk space that the store requires."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from thingspace_provider.listener.setting_types import InvalidValue

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
AMOUNT_PATTERN = re.compile(r"(\d{1,15}) ?(KB|MB|GB|)|(\d{1,2}) ?%")


class DiskSpace(NamedTuple):
    """Free and required bytes of the store's disk."""

    free: int
    required: int

    @property
    def shortage(self) -> str:
        """Return how the disk falls short, or ""."""
        if self.free >= self.required:
            return ""
        return (
            f"the store's disk has {self.free // 10**6} MB free; minFreeDiskSpace requires {self.required // 10**6} MB"
        )


@dataclass(frozen=True)
class MinFreeDiskSpace:
    """Required free space: a number of bytes and a fraction of the disk; the larger one counts."""

    min_bytes: int
    min_fraction: float

    def measure(self, directory: Path) -> DiskSpace:
        """Return the space of a directory's disk. Raises OSError."""
        disk = shutil.disk_usage(directory)
        return DiskSpace(disk.free, max(self.min_bytes, int(self.min_fraction * disk.total)))


def parse_disk_space(value: object) -> MinFreeDiskSpace:
    """Parse a number of bytes, or an amount as `100MB` or `5%`. Raises InvalidValue."""
    match = (
        AMOUNT_PATTERN.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    )
    if not match:
        raise InvalidValue('must be a number of bytes, or an amount as "100MB", "2GB" or "5%"')
    return (
        MinFreeDiskSpace(0, int(match[3]) / 100) if match[3] else MinFreeDiskSpace(int(match[1]) * UNITS[match[2]], 0)
    )
