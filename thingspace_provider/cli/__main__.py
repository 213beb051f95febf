"""Lets `python -m thingspace_provider.cli` do what the console script does."""

from thingspace_provider.cli import main

main()
