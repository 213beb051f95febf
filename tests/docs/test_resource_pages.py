"""The generated pages of docs/reference/ are up to date, complete, and agree with what the resources do."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from playwright.sync_api import Page

import thingspace_provider
from tests.docs.test_documents import DOCUMENTS, TOP
from tests.support import browser as browser_fixtures
from thingspace_provider.lifecycle.model import DiffResult
from thingspace_provider.lifecycle.registration import RegistrationLifecycle
from tools import reference

browser, browser_page = browser_fixtures.browser, browser_fixtures.browser_page
PAGES = reference.render_pages()


class Engine(pulumi.runtime.Mocks):
    """Records the types of the resources that a program creates."""

    def __init__(self) -> None:
        self.types: set[str] = set()

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.types.add(args.typ)
        metadata = {"name": args.name, **args.inputs.get("metadata", {})}
        outputs = {"url": "https://sms.example.com", "pathToken": "invented"}
        return args.name, {**outputs, **args.inputs, "metadata": metadata}

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], None]:
        del args
        return {}, None


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name: str) -> None:
    assert DOCUMENTS[f"docs/reference/{name}"] == PAGES[name], "run: make reference"


def test_every_resource_has_a_page() -> None:
    public = {name: getattr(thingspace_provider, name) for name in thingspace_provider.__all__}
    kinds = (pulumi.Resource, thingspace_provider.ExternalListener)
    assert {name for name, value in public.items() if isinstance(value, type) and issubclass(value, kinds)} == set(
        reference.RESOURCES
    )


@pytest.mark.parametrize("name", reference.RESOURCES)
def test_docstring_has_every_operation_and_the_errors(name: str) -> None:
    assert tuple(key for key, _ in reference.read_items(name, "Operations")) == reference.OPERATIONS
    assert len(reference.read_items(name, "Errors")) >= 2
    documentation = getattr(thingspace_provider, name).__doc__
    assert all(f"        {error}: " in documentation for error, _ in reference.read_items(name, "Errors"))


@pytest.mark.parametrize("name", reference.RESOURCES)
def test_page_has_every_input_and_output_of_the_state(name: str) -> None:
    state = reference.StateKeys(name)
    outputs = PAGES[f"{reference.to_file_name(name)}.md"].partition("## Outputs")[2].partition("## Operations")[0]
    for key in (*state.inputs, *state.outputs):
        assert f"`{key}`" in outputs


@pytest.mark.parametrize(
    ("name", "key", "effect"),
    [
        ("CallbackRegistration", "account_name", "A change replaces the resource."),
        ("CallbackRegistration", "url", "A change updates the resource."),
        ("CallbackRegistration", "adopt", "A change alone is no update."),
        ("SmsCallbackActivation", "account_name", "A change replaces the resource."),
        ("LocalListener", "credential", "A change updates the resource."),
        ("LocalListener", "state_dir", "A change replaces the resource."),
    ],
)
def test_page_says_what_a_change_of_an_input_does(name: str, key: str, effect: str) -> None:
    [row] = [line for line in PAGES[f"{reference.to_file_name(name)}.md"].splitlines() if line.startswith(f"| `{key}`")]
    assert effect in row


def test_page_changes_when_the_diff_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RegistrationLifecycle, "diff", lambda *_: DiffResult(changes=True, replaces=["url"]))
    page = "\n".join(reference.render_resource("CallbackRegistration"))
    assert page.count("A change replaces the resource.") == 8


@pytest.mark.parametrize("name", reference.RESOURCES)
def test_example_runs_and_creates_the_resource(name: str) -> None:
    engine = Engine()
    pulumi.runtime.set_mocks(engine, project="sms", stack="dev")
    program = compile(reference.read_sections(name)["Example"], name, "exec")

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def run() -> None:
        exec(program, {})  # noqa: S102

    run()
    expected = (
        "thingspace:index:SmsCallbacks" if name == "ExternalListener" else reference.StateKeys(name).resource_type
    )
    assert expected in engine.types


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The built site, served on loopback."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=TOP, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 390])
def test_tables_of_the_pages_fit_the_window(site: str, browser_page: Page, width: int, tmp_path: Path) -> None:
    browser_page.set_viewport_size({"width": width, "height": 900})
    for name in PAGES:
        browser_page.goto(f"{site}/reference/{name.removesuffix('.md')}.html")
        assert browser_page.locator("table").count()
        too_wide = browser_page.evaluate(
            "[...document.querySelectorAll('.md-typeset__scrollwrap, html')]"
            ".filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent.slice(0, 40))"
        )
        browser_page.screenshot(path=tmp_path / f"{name}-{width}.png", full_page=True)
        assert too_wide == [], name
