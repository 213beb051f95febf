"""Runs the tests that need Kubernetes, in a cluster that exists only meanwhile: make test-cluster.

    python -m tools.cluster.run [pytest arguments]

The cluster, its pods, the tests, the engine and the emulator run in namespaces of their own, as root. Programs and
images are built before. After the end, or after a kill, nothing remains but the cache of built programs.

THINGSPACE_TEST_KUBECONFIG names the configuration of an existing cluster. The tests that can run there then do.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools import go_build
from tools.cluster import build, namespaces
from tools.pulumi_cli import get

TOP = Path(__file__).resolve().parent.parent.parent
PACKAGES = {  # Debian's package of each program
    "containerd": "containerd",
    "etcd": "etcd-server",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nginx": "nginx-light",
    "podman": "podman",
    "runc": "runc",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/lib/postgresql": "postgresql",
}
LOGS = TOP / "build" / "cluster-logs"
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def missing_packages() -> list[str]:
    """Return the packages whose programs are not installed."""
    return sorted({name for path, name in PACKAGES.items() if not (shutil.which(path) or Path(path).exists())})


def install_packages() -> None:
    """Install the missing packages, as root on Debian. A failure shows as packages that are still missing."""
    packages = missing_packages()
    if not packages or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    go_build.log(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "-q", *command], check=False, env=environment, stdout=subprocess.DEVNULL)


def explain_why_not() -> str:
    """Return why the cluster cannot run on this machine, or an empty string."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a cluster needs Linux and root"
    if packages := missing_packages():
        return f"install what is missing: apt-get install --no-install-recommends {' '.join(packages)}"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--cgroup", "--fork", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stderr.strip()


@contextmanager
def temporary_cgroups() -> Iterator[tuple[str, Path]]:
    """Create cgroups and a folder, and remove them after the block or after the end of this process."""
    folder = Path(tempfile.mkdtemp(prefix="thingspace-cluster-"))
    name = f"thingspace-{secrets.token_hex(4)}"
    cleaner = subprocess.Popen(
        [sys.executable, "-m", "tools.cluster.namespaces", "clean", name, str(folder)],
        cwd=TOP,
        stdin=subprocess.PIPE,
        start_new_session=True,  # it must survive this process
    )
    try:
        namespaces.create_cgroups(name)
        yield name, folder
    finally:
        cleaner.communicate()


def run_inside(name: str, *command: str) -> int:
    """Run a command in the cgroups and in new namespaces, which end when this process ends."""
    enter = [sys.executable, "-m", "tools.cluster.namespaces", "enter", name]
    return subprocess.run(["setpriv", "--pdeathsig", "KILL", *enter, *command], cwd=TOP, check=False).returncode


def run(arguments: list[str]) -> int:
    """Build what is missing, then run the tests in namespaces. Return the status of pytest."""
    programs = build.build_all()
    pulumi = get.find_pulumi_cli(os.environ.get("PULUMI_CLI", ""))
    os.environ["PATH"] = os.pathsep.join([str(pulumi), programs, str(Path(sys.executable).parent), os.environ["PATH"]])
    shutil.rmtree(LOGS, ignore_errors=True)
    with temporary_cgroups() as (name, folder):
        if status := run_inside(name, "--", sys.executable, "-m", "tools.cluster.images", str(folder)):
            return status
        os.environ["THINGSPACE_TEST_CLUSTER_FOLDER"] = str(folder)
        status = run_inside(name, "--net", "--", *pytest_command(arguments), f"--basetemp={folder / 'tests'}")
        if (folder / "logs").exists():
            shutil.copytree(folder / "logs", LOGS)
        return status


def pytest_command(arguments: list[str]) -> list[str]:
    """Return the command that runs the tests."""
    chosen = arguments or ["tests/cluster"]
    return [sys.executable, "-m", "pytest", "-m", "cluster", "--durations=12", *chosen]


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent, make, has ended."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Run the tests where the environment says."""
    os.environ["PATH"] += f":{SBIN}"
    if os.environ.get(build.KUBECONFIG_VARIABLE):
        pulumi = get.find_pulumi_cli(os.environ.get("PULUMI_CLI", ""))
        os.environ["PATH"] = f"{pulumi}:{os.environ['PATH']}"
        return subprocess.run(pytest_command(sys.argv[1:]), cwd=TOP, check=False).returncode
    install_packages()
    if reason := explain_why_not():
        go_build.log(f"== cluster NOT RUN: {reason}; or name an existing cluster in {build.KUBECONFIG_VARIABLE}")
        return 1
    end_with_parent()
    try:
        return run(sys.argv[1:])
    except (go_build.BuildFailed, get.PulumiCliUnavailable) as error:
        go_build.log(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
