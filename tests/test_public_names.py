"""Public names of the package, and what their import loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import thingspace_provider

SLOW_LIBRARIES = {"pulumi", "requests", "urllib3", "tenacity", "yaml"}


def import_modules(statement: str) -> set[str]:
    """Return the modules that are loaded after a statement in a new interpreter."""
    program = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", thingspace_provider.__all__)
def test_a_public_name_is_exported(name: str) -> None:
    assert getattr(thingspace_provider, name).__name__ == name


def test_an_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Client'"):
        _ = thingspace_provider.Client


def test_import_loads_no_slow_library() -> None:
    assert SLOW_LIBRARIES.isdisjoint(import_modules("import thingspace_provider"))


def test_import_of_credentials_loads_no_slow_library() -> None:
    assert SLOW_LIBRARIES.isdisjoint(import_modules("from thingspace_provider import Credentials, Limits"))
