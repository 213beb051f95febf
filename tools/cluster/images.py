"""Builds images.tar and the folder wheels for the tests of the cluster: python -m tools.cluster.images FOLDER.

It needs the network of this machine, so it runs before the cluster.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from tests.support.container_images import Podman
from tests.support.example_commands import EXAMPLES, build_wheel, write_constraints
from tools.cluster import build
from tools.go_build import log

PAUSE_IMAGE = "localhost/pause:1"
LISTENER_IMAGES = {  # two images of one listener, for a roll-out from one to the other
    "v1": "localhost/thingspace-provider:v1",
    "v2": "localhost/thingspace-provider:v2",
}


def write_archives(folder: Path) -> None:
    """Build all images and write them into the folder."""
    started = time.monotonic()
    (work := folder / "podman").mkdir()
    podman = Podman(work)
    with tarfile.open(work / "pause.tar", "w") as root:
        content = (build.build_program("pause", "1") / "pause").read_bytes()
        entry = tarfile.TarInfo("pause")
        entry.size, entry.mode = len(content), 0o755
        root.addfile(entry, io.BytesIO(content))
    changes = ('--change=ENTRYPOINT=["/pause"]', "--change=USER=65535:65535")
    podman.run("podman", "import", *changes, str(work / "pause.tar"), PAUSE_IMAGE)
    podman.import_base()
    for version, image in LISTENER_IMAGES.items():
        podman.build(image, "--network=host", "--label", f"test.version={version}")
        log(f"{image}: built after {time.monotonic() - started:.0f} s")
    save = ("podman", "save", "--multi-image-archive", f"--output={folder / 'images.tar'}")  # with shared layers once
    podman.run(*save, PAUSE_IMAGE, *LISTENER_IMAGES.values())
    podman.close()


def download_wheels(folder: Path) -> None:
    """Build this project's wheel and download what examples/kubernetes needs beside it."""
    build_wheel(folder)
    write_constraints(constraints := folder / "constraints.txt")
    command = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={folder}", f"--find-links={folder}"]
    requirements = EXAMPLES / "kubernetes" / "requirements.txt"
    subprocess.run([*command, f"--constraint={constraints}", f"--requirement={requirements}"], check=True)


if __name__ == "__main__":
    write_archives(Path(sys.argv[1]))
    download_wheels(Path(sys.argv[1]) / "wheels")
