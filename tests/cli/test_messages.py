"""`thingspace messages` lists stored messages, and no foreign text can control the terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener_process import (
    API_TOKEN,
    OTHER_ACCOUNT,
    ListenerProcess,
    build_text_callback,
    clean_environment,
    reserve_port,
)
from tests.support.waiting import join_thread, time_limit

COMMAND = [sys.executable, "-m", "thingspace_provider.cli", "messages"]


@pytest.fixture
def start_local_listener(tmp_path: Path) -> Iterator[Callable[[str], ListenerProcess]]:
    """Start local listeners in the folders of LocalListener: STATE_DIR/listeners/NAME/settings.json."""
    started: list[ListenerProcess] = []

    def begin(name: str, **changes: Any) -> ListenerProcess:
        folder = tmp_path / "listeners" / name
        folder.mkdir(parents=True)
        listener = ListenerProcess(folder, **changes)
        started.append(listener)
        settings: dict[str, Any] = json.loads(listener.file.read_text())
        listener.file.write_text(json.dumps({**settings, "adminHost": "127.0.0.1", "adminPort": listener.port}))
        return listener

    yield begin
    for listener in started:
        listener.kill()


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        env=clean_environment(TZ="Etc/GMT-2", **environment),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_table_shows_receive_time_account_device_and_text_of_all_local_listeners(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    first, second = start_local_listener("one"), start_local_listener("two")
    first.post(build_text_callback("first"))
    second.post(build_text_callback("second"), second.path(OTHER_ACCOUNT))
    first.post(build_text_callback("first"))
    result = run("--state-dir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    rows = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]
    assert rows[0] == ["ID", "RECEIVED", "ACCOUNT", "DEVICE", "TEXT"]
    assert [row[2:] for row in rows[1:]] == [
        ["0000123456-00001", "mdn 5551230001", "first"],
        ["0000123456-00002", "mdn 5551230001", "second"],
        ["0000123456-00001", "mdn 5551230001", "first", "(duplicate)"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+02:00", row[1]) for row in rows[1:])
    assert [row[0] for row in rows[1:]] == ["1", "1", "2"]


def test_json_is_one_document_in_the_shape_of_the_api(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    listener = start_local_listener("dev")
    for number in range(3):
        listener.post(build_text_callback(str(number)))
    document = json.loads(run("--state-dir", str(tmp_path), "--json", "--limit", "2").stdout)
    assert document == {"messages": listener.messages()[1:]}


def test_a_message_cannot_control_the_terminal(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    listener = start_local_listener("dev")
    listener.post(build_text_callback("\x1b[2Jgone\x9b31m\r\n\u202eback\x00", device="\x1b]0;owned\x07"))
    output = run("--state-dir", str(tmp_path)).stdout
    assert r"\x1b[2Jgone\x9b31m\r\n\u202eback\x00" in output
    assert all(character.isprintable() or character == "\n" for character in output)


def test_an_empty_inbox_is_reported_with_a_hint(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    start_local_listener("dev")
    result = run("--state-dir", str(tmp_path))
    assert (result.returncode, result.stdout.count("\n")) == (0, 1)
    assert result.stdout.startswith("No messages yet.")


def test_follow_prints_new_messages_and_repeats_nothing(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    listener = start_local_listener("dev")
    listener.post(build_text_callback("before"))
    with (
        subprocess.Popen(
            [*COMMAND, "--state-dir", str(tmp_path), "--follow", "--json"],
            env=clean_environment(PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
        ) as following,
        time_limit(following),
    ):
        assert following.stdout
        seen = [json.loads(following.stdout.readline())["text"]]
        for number in range(3):
            listener.post(build_text_callback(f"live {number}"))
            seen.append(json.loads(following.stdout.readline())["text"])
        following.send_signal(signal.SIGINT)
        assert following.stdout.read() == b""
        assert following.wait(5) == 0
    assert seen == ["before", "live 0", "live 1", "live 2"]


def test_follow_survives_a_restart_of_one_listener_and_keeps_its_cursor(
    start_local_listener: Callable[..., ListenerProcess], tmp_path: Path
) -> None:
    first, second = start_local_listener("one", port=reserve_port()), start_local_listener("two")
    first.post(build_text_callback("before"))
    with (
        subprocess.Popen(
            [*COMMAND, "--state-dir", str(tmp_path), "--follow", "--json"],
            env=clean_environment(PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as following,
        time_limit(following),
    ):
        assert following.stdout
        assert following.stderr
        seen = [json.loads(following.stdout.readline())["text"]]
        first.stop()
        notes = [following.stderr.readline().decode()]
        second.post(build_text_callback("of the other"))
        seen.append(json.loads(following.stdout.readline())["text"])
        again = ListenerProcess(first.folder, port=first.port)
        try:
            again.post(build_text_callback("after"))
            seen.append(json.loads(following.stdout.readline())["text"])
            following.send_signal(signal.SIGINT)
            assert following.stdout.read() == b""
            notes += following.stderr.read().decode().splitlines()
            assert following.wait(5) == 0
        finally:
            again.kill()
    assert seen == ["before", "of the other", "after"]
    hint = f"Run `pulumi up` to start it, or read its store: thingspace messages --store sqlite:///{first.folder}"
    assert notes == [
        f"Note: cannot connect to the listener at {first.url}. {hint}/inbox.sqlite3. Retrying.\n",
        f"Note: the listener at {first.url} responds again.",
    ]


@pytest.fixture
def fake_listener() -> Iterator[tuple[str, list[tuple[int, bytes]], list[str]]]:
    """A server with scripted responses, the last one repeated: its URL, the responses, the requested paths."""
    responses: list[tuple[int, bytes]] = []
    requested_paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested_paths.append(self.path)
            status, body = responses.pop(0) if len(responses) > 1 else responses[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", responses, requested_paths
        server.shutdown()
        join_thread(thread)


STORE_DOWN = (503, b'{"error": "the store cannot be read now: retry later"}')


def test_an_unavailable_store_is_reported_with_the_error_of_the_listener(
    fake_listener: tuple[str, list[tuple[int, bytes]], list[str]],
) -> None:
    url, responses, _ = fake_listener
    for response, expected in (
        (STORE_DOWN, f"Error: the listener at {url}: the store cannot be read now: retry later.\n"),
        ((502, b"<html>"), f"Error: {url} responded with 502, and not as a listener does. Give its admin address.\n"),
        ((200, b"[]"), f"Error: {url} responded with 200, and not as a listener does. Give its admin address.\n"),
        ((200, b"{}"), f"Error: {url} responded with 200, and not as a listener does. Give its admin address.\n"),
    ):
        responses[:] = [response]
        result = run("--url", url, THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
        assert (result.returncode, result.stderr) == (1, expected)


def test_follow_survives_a_failing_store_and_proxy_and_keeps_its_cursor(
    fake_listener: tuple[str, list[tuple[int, bytes]], list[str]],
) -> None:
    url, responses, requested_paths = fake_listener
    message = {"id": "8", "receivedAt": "2026-03-01T08:15:30Z", "text": "later"}
    later = json.dumps({"messages": [message], "next": "8"}).encode()
    responses[:] = [(200, b'{"messages": [], "next": "7"}'), STORE_DOWN, (502, b"<html>"), (200, later), (401, b"{}")]
    result = run("--url", url, "--follow", "--json", THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
    assert result.returncode == 1
    assert json.loads(result.stdout) == message
    assert [re.findall(r"(?:after|newest)=\d+", path) for path in requested_paths] == [
        ["newest=100"],
        *[["after=7"]] * 3,
        ["after=8"],
    ]
    assert result.stderr.splitlines()[:2] == [
        f"Note: the listener at {url}: the store cannot be read now: retry later. Retrying.",
        f"Note: the listener at {url} responds again.",
    ]


def test_a_remote_listener_is_read_by_its_url_with_the_token_of_the_environment(
    start_local_listener: Callable[[str], ListenerProcess],
) -> None:
    listener = start_local_listener("dev")
    listener.post(build_text_callback("elsewhere"))
    result = run("--url", listener.url + "/", THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
    assert "elsewhere" in result.stdout
    for url, token, message in (
        (listener.url, "wrong-token-of-some-length", "rejected the API token"),
        (listener.url, "", "is missing. Set"),
        (listener.url, "…", "holds characters that no apiToken has"),
        (listener.url, "two\nlines", "holds characters that no apiToken has"),
        ("http://127.0.0..1", API_TOKEN, "unencrypted"),
        ("https://127.0.0..1", API_TOKEN, "Check the URL"),
        ("http://192.0.2.2:9004", API_TOKEN, "would receive the API token unencrypted. Use https"),
    ):
        rejected = run("--url", url, THINGSPACE_LISTENER_API_TOKEN=token)
        assert (rejected.returncode, rejected.stdout) == (1, "")
        assert rejected.stderr.startswith("Error: ")
        assert message in rejected.stderr
        assert "Traceback" not in rejected.stderr


def test_a_stopped_listener_does_not_hide_the_others_and_alone_is_an_error(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    first, second = start_local_listener("one"), start_local_listener("two")
    second.post(build_text_callback("still here"))
    first.kill()
    result = run("--state-dir", str(tmp_path))
    assert (result.returncode, "still here" in result.stdout) == (0, True)
    assert result.stderr.startswith(f"Note: cannot connect to the listener at {first.url}")
    second.kill()
    result = run("--state-dir", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: cannot connect to the listener at ")


def test_without_any_listener_the_error_names_how_to_select_one(tmp_path: Path) -> None:
    result = run("--state-dir", str(tmp_path))
    assert result.returncode == 1
    assert f"there is no local listener under {tmp_path}" in result.stderr
    assert "--url" in result.stderr


def test_filters_are_sent_to_the_listener_and_an_invalid_time_is_reported(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    listener = start_local_listener("one")
    listener.post(build_text_callback("gate open", device="5551230001"))
    listener.post(build_text_callback("gate shut", device="5551230002"))
    listener.post(build_text_callback("T=21.5", device="5551230002"))

    def find_texts(*options: str) -> list[str]:
        result = run("--state-dir", str(tmp_path), "--json", *options)
        return [message["text"] for message in json.loads(result.stdout)["messages"]]

    assert find_texts("--contains", "GATE") == ["gate open", "gate shut"]
    assert find_texts("--device", "mdn:5551230002", "--contains", "gate", "--since", "2001-01-01") == ["gate shut"]
    assert find_texts("--until", "2001-01-01") == []
    assert "No messages match." in run("--state-dir", str(tmp_path), "--contains", "window").stdout


@pytest.mark.parametrize("time", ["yesterday", "2026-02-30", "2026-03-01T25:00:00Z", "2026-03-01T08:15:30"])
@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_malformed_time_is_wrong_usage(option: str, time: str) -> None:
    result = run(option, time)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"'{time}' is not a day as 2026-03-01 or a time as 2026-03-01T08:15:30Z" in result.stderr


def test_a_message_is_shown_by_the_id_of_the_table(
    start_local_listener: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    listener = start_local_listener("dev")
    listener.post(build_text_callback("T=21.5"))
    message_id = run("--state-dir", str(tmp_path)).stdout.splitlines()[1].split()[0]
    assert "T=21.5" in run("show", message_id, "--state-dir", str(tmp_path)).stdout


STEERING = "\x1b[2J\x9b31m\u202e\x7f"


def test_no_foreign_text_reaches_the_terminal_raw(
    fake_listener: tuple[str, list[tuple[int, bytes]], list[str]],
) -> None:
    url, responses, _ = fake_listener
    message = {
        "id": STEERING,
        "receivedAt": "2026-03-01T08:15:30Z",
        "storedAt": None,
        "account": STEERING,
        "devices": [{"kind": STEERING, "id": STEERING}],
        "duplicateOf": None,
        "text": STEERING,
        "kind": STEERING,
    }
    delivery = {"sink": STEERING, "state": STEERING, "attempts": 1, "reason": STEERING}
    for arguments, response in (
        ([], {"messages": [message], "next": "1"}),
        (["--json"], {"messages": [message], "next": "1"}),
        (["show", "1"], {**message, "deliveries": [delivery]}),
        (["show", "1", "--json"], {**message, "deliveries": [delivery]}),
        ([], {"error": STEERING}),
        (["show", STEERING], {"error": STEERING}),
    ):
        status = 400 if "error" in response else 200
        responses[:] = [(status, json.dumps(response).encode())]
        result = run(*arguments, "--url", url, THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
        output = result.stdout + result.stderr
        assert all(character.isprintable() or character == "\n" for character in output), arguments
        if "--json" in arguments:
            document = json.loads(result.stdout)
            assert document == response or document == {"messages": response["messages"]}


def list_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("state", ["serving", "stopped", "killed"])
def test_a_store_is_read_without_a_listener_and_without_a_change(
    start_local_listener: Callable[[str], ListenerProcess], state: str
) -> None:
    listener = start_local_listener("dev")
    for text in ("first", "second", "third"):
        listener.post(build_text_callback(text))
    expected = listener.messages()
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    history = listener.get("/v1/messages/2", **headers).json()
    if state == "stopped":
        assert listener.stop() == 0
    elif state == "killed":
        listener.kill()
    path = listener.folder / "inbox.sqlite3"
    before = list_files(listener.folder)
    listener.folder.chmod(0o500)
    for store in (str(path), f"sqlite:///{path}"):
        assert json.loads(run("--store", store, "--json").stdout) == {"messages": expected}
    assert json.loads(run("--store", str(path), "--json", "--limit", "1").stdout)["messages"] == expected[-1:]
    assert json.loads(run("--store", str(path), "--json", "--contains", "SEC").stdout)["messages"] == expected[1:2]
    assert json.loads(run("show", "2", "--store", str(path), "--json").stdout) == history
    assert "there is no message 9" in run("show", "9", "--store", str(path)).stderr
    assert "there is no message x" in run("show", "x", "--store", str(path)).stderr
    assert "there is no message 99" in run("show", "9" * 30, "--store", str(path)).stderr
    if state != "serving":  # it writes log and store itself
        assert list_files(listener.folder) == before
    listener.folder.chmod(0o700)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no store {}"),
        (b"", "cannot read the store {}: no such table"),
        (b"no database, but long enough to be one" * 100, "cannot read the store {}: file is not a database"),
    ],
)
def test_a_file_that_is_no_store_is_an_error_with_a_hint(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    for arguments in ([], ["show", "1"]):
        result = run(*arguments, "--store", str(path))
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {expected.format(path)}")
    assert list_files(tmp_path) == ({} if content is None else {"x.db": content})


@pytest.mark.parametrize(
    "arguments",
    [["--store", "postgresql://h/d"], ["--store", "x.db", "--follow"], ["--store", "x.db", "--url", "https://h"]],
)
def test_a_store_that_cannot_be_read_directly_is_wrong_usage(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["messages", "--store", "x.db"], "apsw", "listener"),
        (["listener"], "apsw", "listener"),
        (["emulator", "--port", "0"], "uvloop", "emulator"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    arguments: list[str], package: str, extra: str
) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from thingspace_provider.cli import main; main({arguments!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: `thingspace {arguments[0]}` needs the package {package}. "
        f"Install the extra in a clone: pip install -e '.[{extra}]'\n"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("thingspace ", ["doctor", "lint", "registrations", "emulator", "listener", "messages"]),
        ("thingspace l", ["lint", "listener"]),
        ("thingspace messages --f", ["--follow"]),
        ("thingspace messages re", ["retry"]),
    ],
)
def test_the_shell_completes_commands_and_options_without_the_extras(line: str, expected: list[str]) -> None:
    code = (
        "import sys; sys.modules.update(apsw=None, uvloop=None); "
        "from thingspace_provider.cli import main; main(prog_name='thingspace')"
    )
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_THINGSPACE_COMPLETE": "bash_complete"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=clean_environment(**words)
    )
    assert [entry.partition(",")[2] for entry in result.stdout.splitlines()] == expected, result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_guide_has_the_completion_of_each_shell(shell: str) -> None:
    command = f"_THINGSPACE_COMPLETE={shell}_source thingspace"
    assert command in (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()
    environment = clean_environment(_THINGSPACE_COMPLETE=f"{shell}_source")
    result = subprocess.run(
        [sys.executable, "-m", "thingspace_provider"], capture_output=True, text=True, check=False, env=environment
    )
    assert f"_THINGSPACE_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize("module", ["thingspace_provider", "thingspace_provider.cli"])
def test_the_package_runs_as_the_console_script(module: str) -> None:
    result = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Usage: thingspace [OPTIONS] COMMAND")
