"""Kubernetes for tests: one made of processes in the namespaces of tools/cluster/run.py, or an existing one.

The node's address is that of a bridge, which carries the pods too. Programs outside of pods are reached there.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
import trustme

from tests.support.waiting import wait_until
from tools.cluster.images import LISTENER_IMAGES

NETWORK, ADDRESS, SECOND_ADDRESS = "10.244.0.0/24", "10.244.0.1", "10.244.0.2"
SERVICE_NETWORK, API_SERVICE = "10.96.0.0/16", "10.96.0.1"
BRIDGE = "pods"
INGRESS_CLASS, TLS_SECRET = "test", "listener-tls"
ETCD, ETCD_PEER = "http://127.0.0.1:23790", "http://127.0.0.1:23800"
START_SECONDS = 60.0
TOKEN = "invented-administrator-token"
PAUSE_IMAGE = "localhost/pause:1"
CONTAINERD = """
version = 2
root = "{folder}/root"
state = "{state}"
oom_score = 0
[grpc]
  address = "{state}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""
COREDNS = """
.:53 {{
  bind {address}
  errors
  hosts {hosts} {{
    fallthrough
  }}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig}
    ttl 5
  }}
}}
"""
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch"]}, {"level": "None"}],
}
WARNING_ANNOTATIONS = ("pod-security.kubernetes.io/audit-violations", "k8s.io/deprecated")
COMPONENTS = ("kube-", "kubelet/")  # user agents of the cluster itself
SYSTEM_CONTROLS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}


class KubernetesClient:
    """Access to a cluster as its administrator.

    Attributes:
        kubeconfig: Configuration file for clients.
        ca: Certificate authority of the tests.
        warnings: What the API server has warned of in responses to `kubectl`. A test must not cause any.
    """

    _namespace_numbers = itertools.count(1)

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.ca = trustme.CA()
        self.warnings: list[str] = []

    def kubectl(self, *arguments: str, input: str | None = None, fails: bool = False, seconds: float = 60.0) -> str:  # noqa: A002
        """Run kubectl and return its output, or its errors if it is expected to fail."""
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        self.warnings += [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
        assert (done.returncode != 0) == fails, f"kubectl {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    def get(self, *arguments: str) -> Any:
        """Return an object, or a list of objects, of `kubectl get`."""
        found = json.loads(self.kubectl("get", "-o", "json", *arguments))
        return found["items"] if found["kind"] == "List" else found

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests. Unknown fields are errors."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--validate=strict", "-f", "-", input=json.dumps(listed))

    def namespace(self, pod_security: str = "restricted") -> str:
        """Create a namespace in which this Pod Security level is enforced and warned of. Return its name."""
        name = f"test-{os.getpid()}-{next(self._namespace_numbers)}"
        levels = {f"pod-security.kubernetes.io/{mode}": pod_security for mode in ("enforce", "warn", "audit")}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}})
        wait_until(
            lambda: self.get("serviceaccounts", f"--namespace={name}"),
            START_SECONDS,
            f"namespace {name} is usable",
            0.2,
        )
        return name

    def create_certificate(self, namespace: str, host: str) -> str:
        """Create a Secret with a certificate for a host and return its name."""
        certificate = self.ca.issue_cert(host)
        pem = {
            "tls.crt": b"".join(part.bytes() for part in certificate.cert_chain_pems).decode(),
            "tls.key": certificate.private_key_pem.bytes().decode(),
        }
        metadata = {"name": TLS_SECRET, "namespace": namespace}
        self.apply(
            {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "stringData": pem}
        )
        return TLS_SECRET

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Return as soon as the condition holds, or fail with the events of the cluster."""
        try:
            wait_until(condition, seconds, what, 0.2)
        except AssertionError as error:
            events = self.kubectl("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp")
            raise AssertionError(f"{error}\n{events[-4000:]}") from None


class Cluster(KubernetesClient):
    """Cluster of one node that is ready after construction, in the namespaces of this process. End it with `close`.

    Args:
        folder: Folder with `images.tar`. Everything of the cluster is written here.

    Attributes:
        hosts: File that is /etc/hosts here and in the name server of the pods.
        images: References of the listener's images v1 and v2.
        engine: Environment of the engine.
        plugin_folder: Folder of Pulumi's Kubernetes plugin; without one, the engine downloads the plugin.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "kubeconfig")
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self.hosts = folder / "hosts"
        self.images = LISTENER_IMAGES
        self.ingress_class = INGRESS_CLASS
        self.engine: dict[str, str] = {}
        self.plugin_folder = Path(str(shutil.which("pulumi-resource-kubernetes"))).resolve().parent
        self.audit_log = folder / "logs" / "audit.log"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("logs", "certificates", "network", "configuration"):
            (folder / name).mkdir()
        try:
            self._start_all()
        except BaseException:
            self.close()
            raise

    def add_node(self) -> str:
        """Start the second node, unless it runs, and return its name."""
        if "kubelet-node2" in self._daemons:
            return "node2"
        ip("address", "add", f"{SECOND_ADDRESS}/24", "dev", BRIDGE)
        self._start_node("node2", SECOND_ADDRESS)
        self._wait_for_node("node2")
        return "node2"

    def resolve(self, host: str, address: str = ADDRESS) -> None:
        """Let a host name resolve to an address, in pods and outside."""
        lines = [line for line in self.hosts.read_text().splitlines() if line.split()[1:] != [host]]
        self.hosts.write_text("\n".join([*lines, f"{address} {host}", ""]))  # the same file: it is mounted

    def host_for(self, namespace: str) -> str:
        """Return a host name for the listener of a namespace. It resolves to the ingress controller."""
        host = f"{namespace}.example.com"
        self.resolve(host)
        return host

    def delete_namespace(self, namespace: str) -> None:
        """Start to delete a namespace."""
        self.kubectl("delete", "namespace", namespace, "--wait=false")

    def find_warnings(self, namespace: str) -> list[str]:
        """Return the requests to change objects of a namespace that the API server has warned of.

        Clients other than kubectl hide its warnings. The audit log has those of Pod Security and of old API versions.
        """
        found = []
        for line in self.audit_log.read_text().splitlines():
            event = json.loads(line)
            target, annotations = event.get("objectRef", {}), event.get("annotations", {})
            if target.get("namespace") == namespace and not event["userAgent"].startswith(COMPONENTS):
                reasons = [annotations[name] for name in WARNING_ANNOTATIONS if name in annotations]
                found += [f"{event['verb']} {target['resource']} {target.get('name')}: {reason}" for reason in reasons]
        return found

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request to the API server and return the object of its response."""
        response = requests.request(
            method,
            f"https://{ADDRESS}:6443{path}",
            headers={"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})},
            verify=str(self.ca_file),
            timeout=10,
            **options,
        )
        response.raise_for_status()
        return response.json()

    def close(self) -> None:
        """Kill all programs of the cluster. Containers end with the namespaces."""
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
            daemon.wait(START_SECONDS)

    def _start_all(self) -> None:
        self._write_certificates()
        self._create_network()
        self._start_control_plane()
        self._start_node("node1", ADDRESS)
        self._start_proxy()
        configuration = COREDNS.format(address=ADDRESS, hosts=self.hosts, kubeconfig=self.kubeconfig)
        self._start("coredns", "-quiet", "-conf", self._write("Corefile", configuration))
        self._wait_for_node("node1")

    def _write(self, name: str, content: str | dict[str, Any]) -> Path:
        file = self.folder / "configuration" / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def _start(self, program: str, *arguments: str | Path, name: str | None = None) -> None:
        with (self.folder / "logs" / f"{name or program}.log").open("wb") as log:
            self._daemons[name or program] = subprocess.Popen(
                [program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        def checked() -> object:
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    log = (self.folder / "logs" / f"{name}.log").read_text(errors="replace")
                    raise AssertionError(f"{name} exited with status {daemon.returncode}:\n{log[-3000:]}")
            with suppress(requests.RequestException):
                return condition()
            return False

        wait_until(checked, START_SECONDS, what)

    def _write_certificates(self) -> None:
        folder = self.folder / "certificates"
        self.ca.cert_pem.write_to_path(self.ca_file)
        server = self.ca.issue_cert(ADDRESS, "127.0.0.1", API_SERVICE, "kubernetes.default.svc")
        server.private_key_and_cert_chain_pem.write_to_path(folder / "api.pem")
        self.ca.issue_cert("service-accounts").private_key_pem.write_to_path(folder / "service-accounts.pem")
        (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        cluster = {"server": f"https://{ADDRESS}:6443", "certificate-authority": str(self.ca_file)}
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(configuration))

    def _create_network(self) -> None:
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        ip("route", "add", SERVICE_NETWORK, "dev", BRIDGE)  # any route: kube-proxy changes the destination
        for name, value in SYSTEM_CONTROLS.items():
            Path("/proc/sys", name).write_text(value)
        addresses = {
            "type": "host-local",
            "dataDir": str(self.folder / "addresses"),
            "ranges": [[{"subnet": NETWORK, "rangeStart": "10.244.0.10"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
        network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}
        (self.folder / "network" / "10-pods.conflist").write_text(json.dumps(network))
        self.hosts.write_text("127.0.0.1 localhost\n")
        subprocess.run(["mount", "--bind", self.hosts, "/etc/hosts"], check=True)
        servers = self._write("resolv.conf", f"nameserver {ADDRESS}\n")
        subprocess.run(["mount", "--bind", servers, "/etc/resolv.conf"], check=True)

    def _start_control_plane(self) -> None:
        certificates = self.folder / "certificates"
        self._start(
            "etcd",
            "--data-dir=/run/etcd",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            f"--listen-peer-urls={ETCD_PEER}",
            f"--initial-advertise-peer-urls={ETCD_PEER}",
            f"--initial-cluster=default={ETCD_PEER}",
            "--log-level=warn",
        )
        self._start(
            "kube-apiserver",
            f"--etcd-servers={ETCD}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--tls-cert-file={certificates / 'api.pem'}",
            f"--tls-private-key-file={certificates / 'api.pem'}",
            f"--cert-dir={certificates}",
            f"--token-auth-file={certificates / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={certificates / 'service-accounts.pem'}",
            f"--service-account-signing-key-file={certificates / 'service-accounts.pem'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--kubelet-preferred-address-types=InternalIP",  # names of nodes do not resolve
            "--enable-priority-and-fairness=false",
            "--profiling=false",
            f"--audit-policy-file={self._write('audit.json', AUDIT_POLICY)}",
            f"--audit-log-path={self.audit_log}",
        )
        controller = (f"--kubeconfig={self.kubeconfig}", "--bind-address=127.0.0.1", "--leader-elect=false")
        self._wait(lambda: self.request("GET", "/api/v1/namespaces/kube-system"), "the API server is ready")
        self._start(
            "kube-controller-manager",
            *controller,
            f"--service-account-private-key-file={certificates / 'service-accounts.pem'}",
            f"--root-ca-file={self.ca_file}",
            f"--cert-dir={certificates}",
        )
        self._start("kube-scheduler", *controller, f"--cert-dir={certificates}")

    def _start_node(self, name: str, address: str) -> None:
        folder, state = Path("/run") / name, Path("/run") / f"containerd-{name}"  # in memory: nothing to remove
        folder.mkdir()
        configuration = CONTAINERD.format(
            folder=folder, state=state, pause=PAUSE_IMAGE, network=self.folder / "network"
        )
        self._start("containerd", "-c", self._write(f"{name}.toml", configuration), name=f"containerd-{name}")
        socket = state / "containerd.sock"
        self._wait(socket.exists, f"containerd of {name} listens")
        ctr = ["ctr", f"--address={socket}", "--namespace=k8s.io", "images", "import"]
        subprocess.run(
            [*ctr, str(self.folder / "images.tar")], check=True, stdout=subprocess.DEVNULL, timeout=START_SECONDS
        )
        kubelet = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": address,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": create_cgroup(name),
            "clusterDNS": [ADDRESS],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{socket}",
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "healthzPort": 0,
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "podLogsDir": str(self.folder / "logs" / f"pods-{name}"),
            "resolvConf": "",
            "volumePluginDir": str(folder / "volume-plugins"),
        }
        self._start(
            "kubelet",
            f"--config={self._write(f'{name}.json', kubelet)}",
            f"--kubeconfig={self.kubeconfig}",
            f"--root-dir={folder / 'kubelet'}",
            f"--cert-dir={folder / 'certificates'}",
            f"--hostname-override={name}",
            f"--node-ip={address}",
            name=f"kubelet-{name}",
        )

    def _start_proxy(self) -> None:
        proxy = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "bindAddress": ADDRESS,
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "clusterCIDR": NETWORK,
            "conntrack": {"maxPerCore": 0, "min": 0},
            "healthzBindAddress": "127.0.0.1:10256",
            "hostnameOverride": "node1",
            "metricsBindAddress": "127.0.0.1:10249",
            "mode": "nftables",
            "oomScoreAdj": 0,
        }
        self._start("kube-proxy", f"--config={self._write('proxy.json', proxy)}")

    def _wait_for_node(self, name: str) -> None:
        def is_ready() -> bool:
            conditions = self.request("GET", f"/api/v1/nodes/{name}")["status"]["conditions"]
            return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

        self._wait(is_ready, f"{name} is ready")


def ip(*arguments: str) -> None:
    """Run the command ip."""
    subprocess.run(["ip", *arguments], check=True, timeout=START_SECONDS)


def create_cgroup(name: str) -> str:
    """Create a cgroup in every hierarchy of the namespace and return its path."""
    from tools.cluster.namespaces import create_cgroups  # noqa: PLC0415

    create_cgroups(name)
    return f"/{name}"
