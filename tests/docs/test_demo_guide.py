"""The recorded output in the demo guide has the steps that the demo prints."""

from __future__ import annotations

import ast
import re

from tests.docs.test_documents import DOCUMENTS, TOP

GUIDE = DOCUMENTS["docs/demo.md"]


def test_recorded_output_has_the_steps_of_the_demo() -> None:
    [output] = re.findall(r"```text\n(.*?)```", GUIDE, flags=re.DOTALL)
    recorded = [
        " ".join(step.replace("\n## ", " ").split())
        for step in re.findall(r"^## (.*(?:\n## .*)*)", output, re.MULTILINE)
    ]
    steps = [
        " ".join(step.value.split())
        for call in ast.walk(ast.parse((TOP / "tools" / "demo.py").read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print_step"
        for step in call.args
        if isinstance(step, ast.Constant) and isinstance(step.value, str)
    ]
    assert len(steps) > 4
    assert [step for step in steps if step not in recorded] == []
