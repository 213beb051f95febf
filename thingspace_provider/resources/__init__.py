"""Pulumi resources of a program."""

from thingspace_provider.resources.activation import SmsCallbackActivation
from thingspace_provider.resources.credential import CallbackCredential
from thingspace_provider.resources.listener_host import ListenerHost
from thingspace_provider.resources.registration import CallbackRegistration
from thingspace_provider.resources.sms_callbacks import SmsCallbacks

__all__ = [
    "CallbackCredential",
    "CallbackRegistration",
    "ListenerHost",
    "SmsCallbackActivation",
    "SmsCallbacks",
]
