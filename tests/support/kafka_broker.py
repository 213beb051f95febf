"""Kafka broker process: one node in KRaft mode on loopback, from the published artifacts.

It listens twice: without protection, and with TLS under a CA of its own for one user by SCRAM. It needs Java 17 and
Maven. The jars are fetched once per user and version; who needs them meanwhile waits.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
import trustme
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.support.listener_process import reserve_port
from tests.support.waiting import wait_until

POM = Path(__file__).resolve().parent / "kafka" / "pom.xml"
CLUSTER = "thingspaceprovidertest"  # 22 characters, as in generated ids
FETCH_SECONDS, START_SECONDS, READ_SECONDS = 300, 120, 60
MISSING = [name for name in ("java", "mvn") if shutil.which(name) is None]
MECHANISM, USER, PASSWORD = "SCRAM-SHA-512", "listener", "invented-broker-password"
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={folder}/broker.pem
listener.name.secure.sasl.enabled.mechanisms={mechanism}
listener.name.secure.{mechanism_key}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs={folder}/data
auto.create.topics.enable=false
num.partitions=3
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
"""


def read_version() -> str:
    """Return the version that the pom pins."""
    match = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)<", POM.read_text())
    assert match
    return match.group(1)


def fetch_jars() -> Path:
    """Return the folder of the jars; fetch them by Maven if they are missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thingspace-provider" / "kafka"
    base.mkdir(parents=True, exist_ok=True)
    folder = base / read_version()
    with _hold_lock(base / f"{read_version()}.lock"):
        if not folder.exists():
            scratch = base / f"{read_version()}.part"
            shutil.rmtree(scratch, ignore_errors=True)
            command = [
                "mvn",
                "--batch-mode",
                "--quiet",
                "-Dstyle.color=never",
                "--file",
                str(POM),
                "dependency:copy-dependencies",
            ]
            done = subprocess.run([*command, f"-DoutputDirectory={scratch}"], check=False, timeout=FETCH_SECONDS)
            if done.returncode:
                pytest.skip("Maven could not fetch Kafka")
            scratch.rename(folder)
    return folder


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class KafkaBroker:
    """Broker that the constructor formats and starts. After `kill`, `start` uses the same address and data."""

    def __init__(self, folder: Path) -> None:
        self._classes = f"{fetch_jars()}/*"
        self._folder = folder
        self.port, secure, controller = _reserve_ports()
        self.address, self.secure_address = f"127.0.0.1:{self.port}", f"127.0.0.1:{secure}"
        self.authority = _create_certificate(folder)
        self._file = folder / "server.properties"
        self._file.write_text(
            PROPERTIES.format(
                port=self.port,
                secure=secure,
                controller=controller,
                folder=folder,
                mechanism=MECHANISM,
                mechanism_key=MECHANISM.lower(),
            )
        )
        user = f"{MECHANISM}=[name={USER},password={PASSWORD}]"
        format_arguments = ("format", "--standalone", "-t", CLUSTER, "-c", str(self._file), "--add-scram", user)
        self._java("kafka.tools.StorageTool", *format_arguments).wait(60)
        self.start()

    def start(self) -> None:
        """Start the broker and wait until it responds."""
        self.process = self._java("kafka.Kafka", str(self._file))
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                self._admin().list_topics(timeout=1)
            except confluent_kafka.KafkaException:
                continue
            return
        raise AssertionError((self._folder / "broker.log").read_text()[-4000:])

    def kill(self) -> None:
        """Kill the broker with SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def create_topic(self, topic: str, **config: str) -> None:
        """Create a topic and wait until it exists."""
        admin = self._admin()
        made = admin.create_topics([NewTopic(topic, 3, config=config)])
        made[topic].result(20)
        wait_until(  # the controller knows the topic before this broker does
            lambda: topic in admin.list_topics(timeout=5).topics, START_SECONDS, f"the broker knows topic {topic}"
        )

    def read_records(self, topic: str) -> list[confluent_kafka.Message]:
        """Return all current records of a topic, each partition in order."""
        consumer = _create_quiet_client(
            confluent_kafka.Consumer,
            **{"bootstrap.servers": self.address, "group.id": "test", "enable.auto.commit": False},
        )
        try:
            numbers = consumer.list_topics(topic, timeout=20).topics[topic].partitions
            partitions = [confluent_kafka.TopicPartition(topic, number, 0) for number in numbers]
            count = sum(consumer.get_watermark_offsets(partition, timeout=20)[1] for partition in partitions)
            consumer.assign(partitions)
            records: list[confluent_kafka.Message] = []
            end = time.monotonic() + READ_SECONDS
            while time.monotonic() < end and len(records) < count:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    records.append(message)
            assert len(records) == count
            return records
        finally:
            consumer.close()

    def _admin(self) -> Any:
        return _create_quiet_client(AdminClient, **{"bootstrap.servers": self.address})

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        options = [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ]
        with (self._folder / "broker.log").open("ab") as log:
            return subprocess.Popen(
                ["java", *options, "-cp", self._classes, *arguments], cwd=self._folder, stdout=log, stderr=log
            )


def _create_quiet_client(create: Any, **properties: Any) -> Any:
    """Create a client that does not print expected errors to standard error."""
    return create({**properties, "log_level": 0, "error_cb": str})


def _create_certificate(folder: Path) -> Path:
    """Create the broker's key and certificate; return the certificate of the CA."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the only format that Kafka supports
    (folder / "broker.pem").write_bytes(pem + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return folder / "authority.pem"


def _reserve_ports() -> set[int]:
    """Reserve three ports, which no other test uses while the broker is down."""
    ports: set[int] = set()
    while len(ports) < 3:
        ports.add(reserve_port())
    return ports
