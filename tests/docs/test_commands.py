"""Commands in the documents exist, with their options; examples in the settings are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.docs.test_documents import DOCUMENTS, TOP
from thingspace_provider.cli import main

LINES = sorted(
    {
        (document, line.strip()[2:].partition(" #")[0].strip())
        for document, text in DOCUMENTS.items()
        if not document.startswith("examples/")  # tests/examples runs these commands
        for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
        for line in block.splitlines()
        if line.strip().startswith("$ ")
    }
)
INLINE = sorted(
    {
        (document, code)
        for document, text in DOCUMENTS.items()
        for code in re.findall(r"`((?:thingspace|make)(?: [^`]*)?)`", text)
    }
)
TARGETS = set(re.findall(r"^([a-z./-]+):", (TOP / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
EXTRAS = set(re.findall(r"^(\w+) = \[", (TOP / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize(("document", "command"), [*LINES, *INLINE])
def test_command_and_its_options_exist(document: str, command: str) -> None:
    del document
    words = shlex.split(command)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words.pop(0)
    match words:
        case ["thingspace", *arguments]:
            _check_thingspace(arguments)
        case ["make", *targets]:
            assert {target for target in targets if "=" not in target} <= TARGETS
        case ["pip", "install", *arguments]:
            extras = {
                extra
                for argument in arguments
                for group in re.findall(r"\[(.*)\]", argument)
                for extra in group.split(",")
            }
            assert extras <= EXTRAS
        case [program, *_] if "/" in program:
            assert ".venv" in program.split("/") or Path(TOP, program).is_file()
        case _:
            assert not words or words[0] in {
                "export",
                "python",
                "pulumi",
                "pre-commit",
                "eval",
                "git",
                "curl",
                "mkdir",
                "kubectl",
                "docker",
                "awk",
                "promtool",
                "psql",
                "sed",
                "sqlite3",
                "sudo",
            }, words[0]


def _check_thingspace(arguments: list[str]) -> None:
    command: click.Command = main
    context = click.Context(main)
    values = 0
    for argument in arguments:
        if values:
            values -= 1
        elif argument.startswith("--"):
            name = argument.partition("=")[0]
            option = next((it for it in command.get_params(context) if name in {*it.opts, *it.secondary_opts}), None)
            assert isinstance(option, click.Option), name
            values = 0 if option.is_flag or "=" in argument else option.nargs
        elif isinstance(command, click.Group) and (found := command.get_command(context, argument)):
            command = found
        else:
            assert any(isinstance(it, click.Argument) for it in command.params), argument
