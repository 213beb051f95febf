"""PgBouncer in front of a PostgreSQL server, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.listener_process import reserve_port
from tests.support.patroni import PatroniCluster
from tests.support.postgres_server import PASSWORD, USER, PostgresServer
from tests.support.waiting import wait_until

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
CONFIGURATION = """
[databases]
postgres = host=127.0.0.1 port={server_port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
{settings}
"""


@contextmanager
def pgbouncer(server: PostgresServer | PatroniCluster, *settings: str) -> Iterator[str]:
    """Run PgBouncer until the block ends; yield the URL of its database."""
    assert PROGRAM
    port = reserve_port()
    file = server.folder / f"pgbouncer-{port}.ini"
    file.write_text(
        CONFIGURATION.format(
            server_port=server.port,
            user=USER,
            password=PASSWORD.replace("%40", "@"),
            port=port,
            settings="\n".join(settings),
        )
    )
    user = "postgres" if os.getuid() == 0 else None  # PgBouncer refuses to run as root
    process = subprocess.Popen([PROGRAM, "--quiet", file], user=user, group=user, extra_groups=[] if user else None)

    def accepts_connections() -> bool:
        assert process.poll() is None, "PgBouncer ended"
        with socket.socket() as connection:
            return not connection.connect_ex(("127.0.0.1", port))

    try:
        wait_until(accepts_connections, 30, "PgBouncer accepts connections")
        yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        process.kill()
        process.wait()
