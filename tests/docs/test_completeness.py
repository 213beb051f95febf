"""Every setting, variable, command, metric, event, alert and error of the code is documented, and no other is."""

from __future__ import annotations

import re

import pytest

from tests.docs.test_documents import DOCUMENTS
from tests.support import inventory
from tests.support.inventory import COMMANDS_PAGE, KINDS_OF_NAMES, Kind
from tests.tools.test_mkdocs_hooks import hooks
from tools import reference

TEXTS = {**DOCUMENTS, COMMANDS_PAGE: "\n".join(["# Commands\n", *hooks.help_of_commands()])}
PRESENT = [kind for kind in KINDS_OF_NAMES if kind.code()]
ROWS = [
    (cells[0], re.findall(r"`(\w+)`", cells[0]), set(re.findall(r"`(\w+)`", cells[1])))
    for cells in inventory.find_tables(DOCUMENTS["docs/listener.md"], "Event |")
]
QUOTED = [
    *((name, error) for name in reference.RESOURCES for error, _ in reference.read_items(name, "Errors")),
    *(
        (document, quoted)
        for document, text in DOCUMENTS.items()
        if document != "docs/kubernetes.md"  # quotes Kubernetes
        for cells in inventory.find_tables(text, "Symptom")
        for quoted in re.findall(r"`([^`]+)`", cells[0])
        if " " in quoted and not quoted.startswith(("pulumi ", "thingspace "))
    ),
]
OTHER_PROGRAMS = {  # what Pulumi, Python and systemd print
    "Failed to set up credentials",
    "KeyError: '__provider'",
    "pending operations from previous deployment",
    "the stack is currently locked",
}


@pytest.mark.parametrize(("source", "quoted"), QUOTED)
def test_quoted_message_is_one_of_the_code(source: str, quoted: str) -> None:
    del source
    assert inventory.is_message(quoted.strip("`")) or quoted in OTHER_PROGRAMS


def test_quoted_message_is_found_to_be_wrong_when_the_code_has_another() -> None:
    assert inventory.is_message("callbacks already go to … not to")
    assert not inventory.is_message("callbacks already lead to")


@pytest.mark.parametrize("kind", KINDS_OF_NAMES, ids=lambda kind: kind.name)
def test_name_of_the_code_is_documented(kind: Kind) -> None:
    assert kind.find_missing(TEXTS) == set()


@pytest.mark.parametrize("kind", KINDS_OF_NAMES, ids=lambda kind: kind.name)
def test_documented_name_exists(kind: Kind) -> None:
    assert kind.find_unknown(TEXTS) == set()


@pytest.mark.parametrize("kind", PRESENT, ids=lambda kind: kind.name)
def test_a_renamed_name_in_the_documents_is_found_in_both_directions(kind: Kind) -> None:
    name = min(kind.code() - {"thingspace"})
    word = kind.spelling(name)
    changed = {path: text.replace(word, f"{word}{'X' if word.isupper() else 'x'}") for path, text in TEXTS.items()}
    assert name in kind.find_missing(changed)
    assert kind.find_unknown(changed)


@pytest.mark.parametrize(("row", "events", "fields"), ROWS, ids=[row for row, _, _ in ROWS])
def test_fields_of_a_log_event_are_those_of_the_code(row: str, events: list[str], fields: set[str]) -> None:
    del row
    assert set().union(*(inventory.events()[event] for event in events)) == fields
