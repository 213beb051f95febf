"""Files for a virtual machine: the systemd unit, and nginx and Caddy in front of a listener.

The unit is checked by systemd's own tools. It does not run here, because process 1 of a test machine need not be
systemd.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import trustme

from tests.support.listener_process import ACCOUNT, PATH_TOKEN, ListenerProcess, build_text_callback, reserve_port
from tests.support.reverse_proxies import is_installed, run_proxy
from thingspace_provider.listener.settings.listener_settings import ListenerSettings

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
UNIT = (DEPLOY / "systemd" / "thingspace-listener.service").read_text(encoding="utf-8")
MAX_EXPOSURE = 30  # in tenths; systemd calls less than 3 "OK"
HOST = "localhost"
NGINX = """
daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; access_log {folder}/access.log;
    include {folder}/thingspace.conf;
}}
"""


def replace_once(text: str, pattern: str, replacement: str) -> str:
    changed, count = re.subn(pattern, replacement, text)
    assert count == 1, pattern
    return changed


def prepare_nginx(folder: Path, backend: int, port: int) -> list[str]:
    text = (DEPLOY / "nginx" / "thingspace.conf").read_text(encoding="utf-8")
    text = replace_once(text, r"server 127\.0\.0\.1:28200;", f"server 127.0.0.1:{backend};")
    text = replace_once(text, r"listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    text = replace_once(text, r" *listen \[::\]:443 ssl;\n", "")
    text = replace_once(text, r"/etc/letsencrypt/live/\S+/fullchain.pem", f"{folder}/certificate.pem")
    text = replace_once(text, r"/etc/letsencrypt/live/\S+/privkey.pem", f"{folder}/certificate.pem")
    (folder / "thingspace.conf").write_text(text)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def prepare_caddy(folder: Path, backend: int, port: int) -> list[str]:
    text = (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8")
    text = replace_once(text, r"127\.0\.0\.1:28200", f"127.0.0.1:{backend}")
    certificate = folder / "certificate.pem"
    site = f"{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {certificate}\n"
    text = replace_once(text, r"(?m)^sms\.example\.com {\n", site)
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PREPARE: dict[str, Callable[[Path, int, int], list[str]]] = {"nginx": prepare_nginx, "caddy": prepare_caddy}


@pytest.mark.parametrize("name", PREPARE)
def test_proxy_publishes_the_callback_path_alone(name: str, tmp_path: Path) -> None:
    if not is_installed(name):
        pytest.skip(f"needs {name}")
    authority, port = trustme.CA(), reserve_port()
    certificate = authority.issue_cert(HOST)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "certificate.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    listener = ListenerProcess(
        tmp_path, sourceAddressPolicy="enforce", allowedSourceAddresses=["127.0.0.1"], trustedProxyHops=1
    )
    try:
        with run_proxy(PREPARE[name](tmp_path, listener.port, port), port, tmp_path), requests.Session() as session:
            session.trust_env, session.verify = False, str(tmp_path / "ca.pem")
            url = f"https://{HOST}:{port}"
            callback = f"{url}/callbacks/{PATH_TOKEN}/{ACCOUNT}"
            forged = {"X-Forwarded-For": "198.51.100.7"}  # the proxy appends the true address
            assert (
                session.post(callback, json=build_text_callback("T=1"), headers=forged, timeout=10).status_code == 200
            )
            for path in ("/", "/healthz", "/readyz", "/metrics", "/v1/messages", "/callbacks"):
                assert session.get(url + path, timeout=10).status_code == 404, path
        assert listener.message_texts() == ["T=1"]
    finally:
        listener.stop()
    logs = [file.read_text() for file in tmp_path.glob("*.log")]
    assert logs
    assert not any(PATH_TOKEN in log for log in logs)


def test_files_use_the_default_port_of_the_listener() -> None:
    port = ListenerSettings.model_fields["port"].default
    for file in ("nginx/thingspace.conf", "caddy/Caddyfile"):
        assert f"127.0.0.1:{port}" in (DEPLOY / file).read_text(encoding="utf-8")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "thingspace-listener.service"
    unit.write_text(replace_once(UNIT, "/opt/thingspace/bin/thingspace ", "/bin/true "))
    for command in (("verify",), ("security", "--offline=true", f"--threshold={MAX_EXPOSURE}")):
        done = subprocess.run(
            ["systemd-analyze", *command, str(unit)], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_credentials_of_the_unit_are_settings_of_the_listener() -> None:
    loaded = set(re.findall(r"^LoadCredential=([\w-]+):", UNIT, flags=re.MULTILINE))
    named = re.findall(r"^Environment=THINGSPACE_LISTENER_(\w+)_FILE=%d/([\w-]+)$", UNIT, flags=re.MULTILINE)
    assert {file for _, file in named} == loaded
    assert {name.lower() for name, _ in named} <= set(ListenerSettings.model_fields)
