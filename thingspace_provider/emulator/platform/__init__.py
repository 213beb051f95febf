"""The simulated ThingSpace: accounts, devices, queues, callbacks."""
