"""Where a listener can run."""
