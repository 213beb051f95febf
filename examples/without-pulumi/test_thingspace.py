"""Tests of your own client. The fixtures come with thingspace-provider."""

import pytest
import requests
from thingspace import Client


@pytest.fixture
def client(thingspace_emulator):
    emulator = thingspace_emulator
    return Client(emulator.url, emulator.app_key, emulator.app_secret, emulator.username, emulator.password)


def test_queued_messages_arrive_after_start_callbacks(client, thingspace_emulator, thingspace_listener):
    account = thingspace_emulator.accounts[0]
    thingspace_emulator.send_message("T=21.5", account)
    assert thingspace_emulator.queue(account) == ["T=21.5"]
    client.register(account, thingspace_listener.registered_url)
    client.start_callbacks(account)
    assert thingspace_listener.wait_for(1) == ["T=21.5"]
    assert thingspace_emulator.queue(account) == []


def test_expired_session_is_an_error(client, thingspace_emulator):
    thingspace_emulator.advance(20 * 60 + 1)
    with pytest.raises(requests.HTTPError):
        client.start_callbacks(thingspace_emulator.accounts[0])
