"""Linux namespaces and cgroups in which the tests of the cluster run, so that nothing of them stays on the machine.

    python -m tools.cluster.namespaces enter NAME [unshare options] -- COMMAND
    python -m tools.cluster.namespaces init COMMAND          (process 1 of the new namespaces)
    python -m tools.cluster.namespaces clean NAME FOLDER     (removes both when its standard input ends)

`enter` joins the cgroups of the name, then runs the command in namespaces of its own for cgroups, mounts and processes.
When the caller of `enter` dies, the kernel kills every process in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ENDING_SECONDS = 30.0
CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
PRIVATE_FOLDERS = ("/run", "/var/log")  # container runtimes and the kubelet write here


def find_hierarchies() -> dict[Path, str]:
    """Return the mount points of all cgroup hierarchies, each with its type and options for mount."""
    hierarchies = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            names = [
                name for name in options.split(",") if name not in {"rw", "ro", "relatime", "nosuid", "nodev", "noexec"}
            ]
            hierarchies[Path(folder)] = f"{kind} {','.join(names)}"
    return hierarchies


def has_only_version_2() -> bool:
    """Tell whether controllers belong to cgroup v2."""
    return len(find_hierarchies()) == 1


def create_cgroups(name: str) -> None:
    """Create a cgroup in every hierarchy."""
    for hierarchy in find_hierarchies():
        (hierarchy / name).mkdir()
        for file in CPUSET_FILES:  # in version 1, a new cgroup has no processor and no memory
            if (hierarchy / file).exists():
                (hierarchy / name / file).write_text((hierarchy / file).read_text())


def enter(name: str, options: list[str], command: list[str]) -> None:
    """Join the cgroups and replace this process by the command in new namespaces."""
    for hierarchy in find_hierarchies():
        (hierarchy / name / "cgroup.procs").write_text(str(os.getpid()))
    namespaces = ["--cgroup", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *options]
    init = [sys.executable, "-m", "tools.cluster.namespaces", "init", *command]
    os.execvp("unshare", ["unshare", *namespaces, *init])  # noqa: S606


def run_init(command: list[str]) -> int:
    """Run the command as process 1 of the namespaces and return its status. Its end is the end of all processes."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command
    for folder, kind in find_hierarchies().items():
        subprocess.run(["umount", str(folder)], check=True)
        filesystem, options = kind.split(" ")
        mount(filesystem, folder, options)
    if has_only_version_2():
        delegate_controllers()
    for private in PRIVATE_FOLDERS:
        mount("tmpfs", Path(private), "mode=0755")
    child = subprocess.Popen(command)
    while True:  # processes whose parents have ended are children of this one
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode


def delegate_controllers() -> None:
    """Make the controllers of version 2 usable in child cgroups, which needs a cgroup without processes."""
    [root] = find_hierarchies()
    leaf = root / "init"
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text(str(os.getpid()))
    controllers = (root / "cgroup.controllers").read_text().split()
    (root / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def mount(filesystem: str, folder: Path, options: str) -> None:
    """Mount a file system without a device."""
    arguments = ["-o", options] if options else []
    subprocess.run(["mount", "-t", filesystem, *arguments, filesystem, str(folder)], check=True)


def clean(name: str, folder: Path) -> int:
    """Wait for the end of standard input, then remove the cgroups and the folder."""
    sys.stdin.buffer.read()
    deadline = time.monotonic() + ENDING_SECONDS
    while remaining := [
        path for path in (hierarchy / name for hierarchy in find_hierarchies()) if not remove_cgroup(path)
    ]:
        if time.monotonic() > deadline:  # a process is still in it
            print(f"not removed: {', '.join(map(str, remaining))}", file=sys.stderr)
            break
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    return bool(remaining) or folder.exists()


def remove_cgroup(path: Path) -> bool:
    """Remove a cgroup and those in it. Return whether it is gone."""
    for group in sorted(path.glob("**/"), reverse=True):  # children first
        with contextlib.suppress(OSError):
            group.rmdir()
    return not path.exists()


def main() -> int:
    """Run one of the three commands."""
    match sys.argv[1:]:
        case ["enter", name, *arguments]:
            separator = arguments.index("--")
            enter(name, arguments[:separator], arguments[separator + 1 :])
        case ["init", *command]:
            return run_init(command)
        case ["clean", name, folder]:
            return clean(name, Path(folder))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
