"""Ingress controller for tests: nginx in front of the Services of a cluster, with TLS.

It polls Ingress objects of one class, reports its address in their status, and proxies each path to the ClusterIP of
its Service. Each request opens a connection of its own to the Service, so kube-proxy selects the pod for each request.
"""

from __future__ import annotations

import base64
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from tests.support.cluster import ADDRESS, INGRESS_CLASS, Cluster
from tests.support.waiting import join_thread, wait_until

POLL_SECONDS = 0.2
MAIN = """
daemon off; user root; worker_processes 1; worker_rlimit_nofile 8192;
pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    log_format requests '$msec $host $status $upstream_addr $upstream_status $request_time';
    access_log {folder}/access.log requests;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_body_buffer_size 64k; keepalive_requests 100000;
    proxy_http_version 1.1; proxy_connect_timeout 2s; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto https;
    server {{ listen {address}:443 ssl default_server; ssl_reject_handshake on; }}
{servers}
}}
"""
SERVER = """
    server {{
        listen {address}:443 ssl; server_name {host};
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
{locations}
    }}
"""
LOCATION = "        location {match} {{ proxy_pass http://{address}:{port}; }}"


class IngressController:
    """Controller that serves port 443 after construction. Stop it with `close`.

    A host without a Secret for TLS gets a certificate of the cluster's authority.

    Attributes:
        access_log: One line for each request: time, host, status, address and status of the upstream, seconds.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._folder = cluster.folder / "ingress"
        self._folder.mkdir()
        self.access_log = self._folder / "access.log"
        self._applied = ""
        self._error: Exception | None = None
        self._ended = threading.Event()
        controller = {"controller": "example.com/ingress-for-tests"}
        cluster.apply(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": INGRESS_CLASS},
                "spec": controller,
            }
        )
        self._write([])
        self._process = subprocess.Popen(["nginx", "-p", self._folder, "-c", self._folder / "nginx.conf"])
        wait_until((self._folder / "pid").exists, 20, "nginx runs")
        self._thread = threading.Thread(target=self._run, name="ingress controller")
        self._thread.start()

    def close(self) -> None:
        """Stop the controller and nginx, and raise the error that ended the controller, if any."""
        self._ended.set()
        join_thread(self._thread)
        self._process.terminate()
        self._process.wait(20)
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            self._poll()
        except Exception as error:  # noqa: BLE001  `close` raises it
            self._error = error

    def _poll(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            with suppress(requests.ConnectionError, requests.Timeout):  # a busy API server; the next poll follows
                self._update()

    def _update(self) -> None:
        listed = self._cluster.request("GET", "/apis/networking.k8s.io/v1/ingresses")["items"]
        ingresses = [one for one in listed if one["spec"].get("ingressClassName") == INGRESS_CLASS]
        services = self._cluster.request("GET", "/api/v1/services")["items"]
        by_name = {(one["metadata"]["namespace"], one["metadata"]["name"]): one["spec"] for one in services}
        servers = [server for one in ingresses for server in self._render(one, by_name)]
        if self._write(servers):
            self._process.send_signal(1)  # SIGHUP: nginx reads its configuration again
        for one in ingresses:
            if not one["status"].get("loadBalancer", {}).get("ingress"):
                metadata = one["metadata"]
                path = (
                    f"/apis/networking.k8s.io/v1/namespaces/{metadata['namespace']}/ingresses/{metadata['name']}/status"
                )
                status = {"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}}
                merge = {"Content-Type": "application/merge-patch+json"}
                self._cluster.request("PATCH", path, json=status, headers=merge)

    def _write(self, servers: list[str]) -> bool:
        """Write the configuration and return whether it has changed."""
        content = MAIN.format(folder=self._folder, address=ADDRESS, servers="\n".join(servers))
        changed, self._applied = content != self._applied, content
        if changed:
            (self._folder / "nginx.conf").write_text(content)
        return changed

    def _render(self, ingress: dict[str, Any], services: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
        namespace = ingress["metadata"]["namespace"]
        secrets = {host: one["secretName"] for one in ingress["spec"].get("tls", ()) for host in one.get("hosts", ())}
        servers = []
        for rule in ingress["spec"].get("rules", ()):
            locations = []
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = services.get((namespace, backend["name"]))
                if service is None:
                    continue  # the engine creates both at the same time
                wanted = backend["port"]
                port = wanted.get("number") or next(
                    one["port"] for one in service["ports"] if one.get("name") == wanted["name"]
                )
                match = f"= {path['path']}" if path["pathType"] == "Exact" else path["path"]
                locations.append(LOCATION.format(match=match, address=service["clusterIP"], port=port))
            certificate = self._certificate(namespace, rule["host"], secrets.get(rule["host"]))
            servers.append(
                SERVER.format(
                    address=ADDRESS, host=rule["host"], certificate=certificate, locations="\n".join(sorted(locations))
                )
            )
        return sorted(servers)

    def _certificate(self, namespace: str, host: str, secret: str | None) -> Path:
        file = self._folder / f"{namespace}-{host}-{secret}.pem"
        if file.exists():
            return file
        if secret:
            data = self._cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{secret}")["data"]
            file.write_bytes(b"".join(base64.b64decode(data[name]) for name in ("tls.key", "tls.crt")))
        else:
            self._cluster.ca.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(file)
        return file
