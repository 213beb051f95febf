"""Fixtures for anybody's tests against ThingSpace: `thingspace_emulator` and `thingspace_listener`."""

from __future__ import annotations
