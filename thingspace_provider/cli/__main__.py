"""Runs the console script `thingspace` as `python -m thingspace_provider.cli`."""

from thingspace_provider.cli import main

main(prog_name="thingspace")
