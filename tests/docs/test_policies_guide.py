"""The guide of the policy pack has each rule and option of the pack."""

from __future__ import annotations

import re
from pathlib import Path

from policy.__main__ import RULES

GUIDE = (Path(__file__).resolve().parent.parent.parent / "docs" / "policies.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """Return the cells of the rows of the first table under a heading."""
    rows = re.findall(
        r"^\|(.*)\|$", GUIDE.partition(f"\n## {heading}\n")[2].partition("\n\n\n")[0].lstrip(), re.MULTILINE
    )
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)] for row in rows]


def test_table_has_the_rules_with_level_description_and_options() -> None:
    rows = table("Rules")[2 : 2 + len(RULES)]
    assert rows == [
        [f"`{rule.name}`", rule.level.value, rule.description, ", ".join(f"`{key}`" for key in rule.config)]
        for rule in RULES
    ]


def test_every_rule_has_a_section_with_its_reason_and_fix() -> None:
    sections = re.findall(r"^### (.*)\n\n\*\*Reason\*\*: ((?:.+\n)+)\n\*\*Fix\*\*: ((?:.+\n)+)", GUIDE, re.MULTILINE)
    assert [tuple(" ".join(part.split()) for part in section) for section in sections] == [
        (rule.name, rule.reason, rule.fix) for rule in RULES
    ]


def test_table_of_options_has_their_defaults_and_meanings() -> None:
    options = {key: schema for rule in RULES for key, schema in rule.config.items()}
    rows = table("Options")[2 : 2 + len(options)]
    assert {row[0]: row[1:] for row in rows} == {
        f"`{key}`": [
            f"`{str(schema['default']).replace('True', 'true')}`",
            schema["description"],
        ]
        for key, schema in options.items()
    }
