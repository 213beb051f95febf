"""Suggestions for misspelt names."""

from __future__ import annotations

from thingspace_provider.common.suggestions import did_you_mean


def test_the_most_similar_word_is_suggested() -> None:
    assert did_you_mean("acounts", ["profiles", "accounts"]) == "did you mean accounts?"


def test_a_suggestion_has_the_prefix() -> None:
    assert did_you_mean("acounts", ["accounts"], "thingspace:") == "did you mean thingspace:accounts?"


def test_all_words_are_listed_when_none_is_similar() -> None:
    assert did_you_mean("xyz", ["profiles", "accounts"]) == "known are accounts, profiles"
