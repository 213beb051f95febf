"""ThingSpace over HTTP: tokens, sessions, errors, one method per call."""

from thingspace_provider.api.client import Block, Client, Registration
from thingspace_provider.api.credentials import PRODUCTION, Credentials
from thingspace_provider.api.probe import prove_listener
from thingspace_provider.api.urls import shown

__all__ = ["PRODUCTION", "Block", "Client", "Credentials", "Registration", "prove_listener", "shown"]
