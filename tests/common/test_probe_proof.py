"""Proof of the readiness probe: the guide's test vector, and the price of a guess."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.docs.test_documents import DOCUMENTS
from thingspace_provider.common.probe_proof import compute_proof

GUIDE = DOCUMENTS["docs/readiness-probe.md"]
VECTOR = dict(re.findall(r"^\| `(\w+)` \| `(\S+)` \|$", GUIDE.partition("Test vector")[2], flags=re.MULTILINE))
USERNAME, SECRET, ACCOUNT, NONCE = (VECTOR[name] for name in ("username", "password", "account", "nonce"))


def test_proof_is_that_of_the_guide() -> None:
    assert compute_proof(USERNAME, SECRET, ACCOUNT, NONCE) == VECTOR["proof"]


def test_formula_of_the_guide_computes_its_test_vector() -> None:
    [code] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    values: dict[str, Any] = {name: text.encode() for name, text in VECTOR.items() if name != "proof"}
    exec(code, values)  # noqa: S102  code of this repository
    assert values["proof"] == VECTOR["proof"]


def test_guess_is_expensive_and_proof_with_the_same_credential_is_not() -> None:
    compute_proof(USERNAME, SECRET, ACCOUNT, NONCE)
    started = time.process_time()
    for number in range(100):
        compute_proof(USERNAME, SECRET, ACCOUNT, f"{number:016}")
    same_credential = time.process_time() - started
    started = time.process_time()
    compute_proof("plant-a", "a guess", "0000123456-00001", "0" * 16)
    assert time.process_time() - started > max(0.03, same_credential)  # CPU time; a HMAC alone takes 0.00001 seconds
