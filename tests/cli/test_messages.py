"""`thingspace messages` shows what the listeners hold, and nothing in a text steers the terminal."""

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
    clean_environment,
    quiet_port,
    text,
)

COMMAND = [sys.executable, "-m", "thingspace_provider.cli", "messages"]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Callable[[str], ListenerProcess]]:
    """Starts local listeners as LocalListener lays them out: STATE_DIR/listeners/NAME/settings.json."""
    started: list[ListenerProcess] = []

    def begin(name: str, **changes: Any) -> ListenerProcess:
        folder = tmp_path / "listeners" / name
        folder.mkdir(parents=True)
        listener = ListenerProcess(folder, **changes)
        started.append(listener)
        settings: dict[str, Any] = json.loads(listener.file.read_text())
        listener.file.write_text(json.dumps({**settings, "host": "127.0.0.1", "port": listener.port}))
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


def test_a_table_shows_arrival_account_device_and_text_of_all_local_listeners(
    local: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    one, two = local("one"), local("two")
    one.post(text("first"))
    two.post(text("second"), two.path(OTHER_ACCOUNT))
    one.post(text("first"))
    shown = run("--state-dir", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    rows = [re.split(r"\s{2,}", line.strip()) for line in shown.stdout.splitlines()]
    assert rows[0] == ["ARRIVED", "ACCOUNT", "DEVICE", "TEXT"]
    assert [row[1:] for row in rows[1:]] == [
        ["0000123456-00001", "mdn 5551230001", "first"],
        ["0000123456-00002", "mdn 5551230001", "second"],
        ["0000123456-00001", "mdn 5551230001", "first", "(delivered again)"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+02:00", row[0]) for row in rows[1:])


def test_json_is_one_document_in_the_shape_of_the_api(local: Callable[[str], ListenerProcess], tmp_path: Path) -> None:
    listener = local("dev")
    for number in range(3):
        listener.post(text(str(number)))
    shown = json.loads(run("--state-dir", str(tmp_path), "--json", "--limit", "2").stdout)
    assert shown == {"messages": listener.messages()[1:]}


def test_a_text_cannot_steer_the_terminal(local: Callable[[str], ListenerProcess], tmp_path: Path) -> None:
    listener = local("dev")
    listener.post(text("\x1b[2Jgone\x9b31m\r\n\u202eback\x00", device="\x1b]0;owned\x07"))
    shown = run("--state-dir", str(tmp_path)).stdout
    assert r"\x1b[2Jgone\x9b31m\r\n\u202eback\x00" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_an_empty_inbox_says_so_and_what_to_do(local: Callable[[str], ListenerProcess], tmp_path: Path) -> None:
    local("dev")
    shown = run("--state-dir", str(tmp_path))
    assert (shown.returncode, shown.stdout.count("\n")) == (0, 1)
    assert shown.stdout.startswith("No text has arrived yet.")


def test_follow_goes_on_with_what_arrives_and_repeats_nothing(
    local: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    listener = local("dev")
    listener.post(text("before"))
    with subprocess.Popen(
        [*COMMAND, "--state-dir", str(tmp_path), "--follow", "--json"],
        env=clean_environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
    ) as following:
        assert following.stdout
        seen = [json.loads(following.stdout.readline())["text"]]
        for number in range(3):
            listener.post(text(f"live {number}"))
            seen.append(json.loads(following.stdout.readline())["text"])
        following.send_signal(signal.SIGINT)
        assert following.stdout.read() == b""
        assert following.wait(5) == 0
    assert seen == ["before", "live 0", "live 1", "live 2"]


def test_follow_outlives_a_restart_of_one_listener_and_goes_on_where_it_was(
    local: Callable[..., ListenerProcess], tmp_path: Path
) -> None:
    one, two = local("one", port=quiet_port()), local("two")
    one.post(text("before"))
    with subprocess.Popen(
        [*COMMAND, "--state-dir", str(tmp_path), "--follow", "--json"],
        env=clean_environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as following:
        assert following.stdout
        assert following.stderr
        seen = [json.loads(following.stdout.readline())["text"]]
        one.stop()
        notes = [following.stderr.readline().decode()]
        two.post(text("of the other"))
        seen.append(json.loads(following.stdout.readline())["text"])
        again = ListenerProcess(one.folder, port=one.port)
        try:
            again.post(text("after"))
            seen.append(json.loads(following.stdout.readline())["text"])
            following.send_signal(signal.SIGINT)
            assert following.stdout.read() == b""
            notes += following.stderr.read().decode().splitlines()
            assert following.wait(5) == 0
        finally:
            again.kill()
    assert seen == ["before", "of the other", "after"]
    assert notes == [
        f"Note: no listener can be reached at {one.url}: `pulumi up` starts it again. It is asked again.\n",
        f"Note: the listener at {one.url} answers again.",
    ]


@pytest.fixture
def answering() -> Iterator[tuple[str, list[tuple[int, bytes]], list[str]]]:
    """A server that gives these answers, the last for ever: its URL, the answers, and what it was asked."""
    answers: list[tuple[int, bytes]] = []
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", answers, asked
        server.shutdown()
        thread.join()


STORE_DOWN = (503, b'{"error": "the store cannot be read now: come again"}')


def test_a_store_that_is_down_is_said_in_the_words_of_the_listener(
    answering: tuple[str, list[tuple[int, bytes]], list[str]],
) -> None:
    url, answers, _ = answering
    for answer, said in (
        (STORE_DOWN, f"Error: the listener at {url}: the store cannot be read now: come again.\n"),
        ((502, b"<html>"), f"Error: {url} answered 502, and not as a listener does: check the URL.\n"),
        ((200, b"[]"), f"Error: {url} answered 200, and not as a listener does: check the URL.\n"),
        ((200, b"{}"), f"Error: {url} answered 200, and not as a listener does: check the URL.\n"),
    ):
        answers[:] = [answer]
        shown = run("--url", url, THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
        assert (shown.returncode, shown.stderr) == (1, said)


def test_follow_outlives_a_store_and_a_proxy_that_are_down_and_keeps_its_cursor(
    answering: tuple[str, list[tuple[int, bytes]], list[str]],
) -> None:
    url, answers, asked = answering
    message = {"id": "8", "receivedAt": "2026-03-01T08:15:30Z", "text": "later"}
    later = json.dumps({"messages": [message], "next": "8"}).encode()
    answers[:] = [(200, b'{"messages": [], "next": "7"}'), STORE_DOWN, (502, b"<html>"), (200, later), (401, b"{}")]
    shown = run("--url", url, "--follow", "--json", THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
    assert shown.returncode == 1
    assert json.loads(shown.stdout) == message
    assert [re.findall(r"(?:after|last)=\d+", path) for path in asked] == [
        ["last=100"],
        *[["after=7"]] * 3,
        ["after=8"],
    ]
    assert shown.stderr.splitlines()[:2] == [
        f"Note: the listener at {url}: the store cannot be read now: come again. It is asked again.",
        f"Note: the listener at {url} answers again.",
    ]


def test_a_listener_elsewhere_is_read_by_its_url_with_the_token_of_the_environment(
    local: Callable[[str], ListenerProcess],
) -> None:
    listener = local("dev")
    listener.post(text("elsewhere"))
    shown = run("--url", listener.url + "/", THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
    assert "elsewhere" in shown.stdout
    for url, token, message in (
        (listener.url, "wrong-token-of-some-length", "refused the token"),
        (listener.url, "", "is missing: put"),
        (listener.url, "…", "it has other characters"),
        (listener.url, "two\nlines", "it has other characters"),
        ("http://127.0.0..1", API_TOKEN, "check the URL"),
    ):
        refused = run("--url", url, THINGSPACE_LISTENER_API_TOKEN=token)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("Error: ")
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_stopped_listener_does_not_hide_the_others_and_alone_is_an_error(
    local: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    one, two = local("one"), local("two")
    two.post(text("still here"))
    one.kill()
    shown = run("--state-dir", str(tmp_path))
    assert (shown.returncode, "still here" in shown.stdout) == (0, True)
    assert shown.stderr.startswith(f"Note: no listener can be reached at {one.url}")
    two.kill()
    shown = run("--state-dir", str(tmp_path))
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("Error: no listener can be reached at ")


def test_without_any_listener_the_ways_to_one_are_named(tmp_path: Path) -> None:
    shown = run("--state-dir", str(tmp_path))
    assert shown.returncode == 1
    assert f"there is no local listener under {tmp_path}" in shown.stderr
    assert "--url" in shown.stderr


def test_what_is_wanted_is_asked_of_the_listener_and_a_time_that_is_none_is_said(
    local: Callable[[str], ListenerProcess], tmp_path: Path
) -> None:
    listener = local("one")
    listener.post(text("door open", device="5551230001"))
    listener.post(text("door shut", device="5551230002"))
    listener.post(text("T=21.5", device="5551230002"))

    def found(*options: str) -> list[str]:
        shown = run("--state-dir", str(tmp_path), "--json", *options)
        return [message["text"] for message in json.loads(shown.stdout)["messages"]]

    assert found("--text", "DOOR") == ["door open", "door shut"]
    assert found("--device", "mdn:5551230002", "--text", "door", "--from", "2001-01-01") == ["door shut"]
    assert found("--until", "2001-01-01") == []
    assert "No such text" in run("--state-dir", str(tmp_path), "--text", "window").stdout
    wrong = run("--state-dir", str(tmp_path), "--from", "yesterday")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "Error: from must be a time as 2026-03-01T08:15:30Z or a day as 2026-03-01.\n"
