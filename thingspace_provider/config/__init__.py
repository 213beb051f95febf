"""Configuration by the user: credentials, limits and stack files."""
