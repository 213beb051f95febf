"""Crash points: system calls by which a process changes something outside itself, and where a test kills it.

Such calls can also fail or hang.

strace counts the system calls of each thread, and later kills with SIGKILL at the entry of one of them, so that it
has no effect. What may be done before or after a kill without being noticed is listed here; whatever else a process
calls is a point, so that a way of writing that is new to it cannot escape.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.listener_process import ListenerProcess
from tests.support.waiting import time_limit

# Calls that read, wait or allocate memory, and those whose effect ends with the process, such as locks.
HARMLESS = """
    accept accept4 access arch_prctl bind brk clock_gettime clock_nanosleep clone clone3 close connect dup dup2 dup3
    epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit exit_group fadvise64 fcntl flock fstat fstatfs
    futex getcwd getdents64 getegid geteuid getgid getpeername getpid getpgrp getppid getrandom getrlimit getsockname
    getsockopt gettid getuid io_uring_setup ioctl listen lseek lstat madvise membarrier mmap mprotect mremap munmap
    newfstatat pipe2 poll ppoll prctl pread64 prlimit64 pselect6 read readlink readlinkat readv recvfrom recvmsg
    restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield select
    set_robust_list set_tid_address setsockopt sigaltstack socket socketpair stat statfs statx sysinfo timerfd_create
    timerfd_settime uname wait4
"""
CALL = re.compile(r"(?P<name>\w+)\((?:(?:AT_FDCWD(?:<[^>]*>)?, )?(?:\d+<(?P<open>[^>]*)>|\"(?P<named>[^\"]*)\"))?")


class Point(NamedTuple):
    """System call by thread, name and number. Threads are numbered in start order; the main thread is 0."""

    thread: int
    call: str
    number: int
    target: str


def get_skip_reason() -> str:
    """Return why strace cannot be used on this machine, or an empty string."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "10"]) as other:
        tracer = subprocess.Popen(["strace", "-p", str(other.pid)], stderr=subprocess.PIPE)
        assert tracer.stderr
        with time_limit(tracer):
            output = tracer.stderr.readline().decode()
        tracer.terminate()
        tracer.communicate(timeout=30)
        other.kill()
    return "" if "attached" in output else f"strace may not look at another process here: {output}"


@contextlib.contextmanager
def record_points(listener: ListenerProcess, folder: Path) -> Iterator[list[Point]]:
    """Fill the list, when the block ends, with the crash points that a running listener has passed."""
    points: list[Point] = []
    for old in folder.glob("points.*"):
        old.unlink()
    threads = _list_threads(listener)
    with _attach("-f", "-ff", "-p", str(listener.process.pid), "-o", str(folder / "points")):
        yield points
    assert {*threads} == {int(file.suffix[1:]) for file in folder.glob("points.*")}, "a thread began later"
    for number, thread in enumerate(threads):
        points += _read_points(folder / f"points.{thread}", number)


def build_recording_command(file: Path) -> tuple[str, ...]:
    """Build a command prefix that records the system calls of the listener's main thread."""
    return ("strace", "-D", "-y", "-s", "64", "-o", str(file))


def read_startup_points(file: Path) -> list[Point]:
    """Return the crash points before the listener was ready."""
    lines = file.read_text().splitlines()
    last = next(number for number, line in enumerate(lines) if "adminUrl" in line)
    file.write_text("\n".join(lines[: last + 1]))
    return _read_points(file, 0)


def build_killing_command(point: Point) -> tuple[str, ...]:
    """Build a command prefix that kills the listener at a crash point during its start."""
    return ("strace", "-D", "-o", "/dev/null", *_build_inject_options(point))


@contextlib.contextmanager
def kill_at(listener: ListenerProcess, point: Point) -> Iterator[None]:
    """Kill the listener when it reaches the crash point inside the block."""
    with _attach("-o", "/dev/null", *_build_inject_options(point), "-p", str(_list_threads(listener)[point.thread])):
        yield


@contextlib.contextmanager
def fail_calls(listener: ListenerProcess, call: str, error: str) -> Iterator[None]:
    """Let every such system call of the listener fail inside the block, for example with `EIO`."""
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}")
    with _attach("-f", "-o", "/dev/null", *inject, "-p", str(listener.process.pid)):
        yield


@contextlib.contextmanager
def delay_calls(listener: ListenerProcess, call: str, seconds: float) -> Iterator[None]:
    """Delay every such system call of the listener inside the block, as a disk that hangs."""
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:delay_enter={round(seconds * 1_000_000)}")
    with _attach("-f", "-o", "/dev/null", *inject, "-p", str(listener.process.pid)):
        yield


def _build_inject_options(point: Point) -> tuple[str, ...]:
    return ("-e", f"trace={point.call}", "-e", f"inject={point.call}:signal=SIGKILL:when={point.number}")


@contextlib.contextmanager
def _attach(*options: str) -> Iterator[None]:
    with subprocess.Popen(["strace", "-y", "-s", "0", *options], stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr
        with time_limit(tracer):
            output = tracer.stderr.readline()
        assert b"attached" in output, output
        try:
            yield
        finally:
            tracer.terminate()


def _list_threads(listener: ListenerProcess) -> list[int]:
    """Return the threads in start order. The directory has this order; thread ids restart after pid_max."""
    return [int(task.name) for task in Path(f"/proc/{listener.process.pid}/task").iterdir()]


def _read_points(file: Path, thread: int) -> list[Point]:
    harmless = frozenset(HARMLESS.split())
    counts: dict[str, int] = {}
    points = []
    for line in file.read_text().splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        name = call["name"]
        counts[name] = counts.get(name, 0) + 1
        if name not in harmless and not (name == "openat" and "O_CREAT" not in line):
            points.append(Point(thread, name, counts[name], _target(call["open"] or call["named"] or "")))
    return points


def _target(path: str) -> str:
    """Return the name of the written file or socket without the parts that differ between runs."""
    return re.sub(r":?\[\d+\]", "", path.rpartition("/")[2] if path.startswith("/") else path)
