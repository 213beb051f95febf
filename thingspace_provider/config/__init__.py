"""What a user configures: credentials, limits, stack files."""
