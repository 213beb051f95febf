"""check and diff of every resource, for any values that a program or a state may hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingspace_provider.lifecycle import activation, credential, local_listener, registration
from thingspace_provider.lifecycle.model import UNKNOWN, Lifecycle

ALL: list[Lifecycle] = [
    activation.ActivationLifecycle(),
    credential.CredentialLifecycle(),
    local_listener.LocalListenerLifecycle(),
    registration.RegistrationLifecycle(),
]
INPUT_KEYS = {"rotation", *activation.INPUT_KEYS, *registration.INPUT_KEYS, *local_listener.INPUT_KEYS}
KEYS = sorted({*INPUT_KEYS, "running", "baseUrlFingerprint"})
FINGERPRINT = "0123abcd"
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(UNKNOWN)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
states = st.dictionaries(st.sampled_from(KEYS), values)


@pytest.mark.parametrize("lifecycle", ALL, ids=lambda lifecycle: type(lifecycle).__name__)
@given(news=states)
def test_check_never_raises_and_is_idempotent(lifecycle: Lifecycle, news: dict[str, Any]) -> None:
    once = lifecycle.check(news)
    again = lifecycle.check(once.inputs)
    assert repr(again) == repr(once)  # by repr, because not-a-number is not equal to itself


@pytest.mark.parametrize("lifecycle", ALL, ids=lambda lifecycle: type(lifecycle).__name__)
@given(olds=states, news=states)
def test_diff_never_raises(lifecycle: Lifecycle, olds: dict[str, Any], news: dict[str, Any]) -> None:
    difference = lifecycle.diff(olds, lifecycle.check(news).inputs, lambda _: FINGERPRINT)
    assert difference.changes or not difference.replaces


@pytest.mark.parametrize("lifecycle", ALL, ids=lambda lifecycle: type(lifecycle).__name__)
@given(news=states)
def test_diff_of_a_new_state_is_empty(lifecycle: Lifecycle, news: dict[str, Any]) -> None:
    inputs = {key: value for key, value in lifecycle.check(news).inputs.items() if value == value}  # noqa: PLR0124  not-a-number
    assert not lifecycle.diff(
        {"running": True, "baseUrlFingerprint": FINGERPRINT, **inputs}, inputs, lambda _: FINGERPRINT
    ).changes
