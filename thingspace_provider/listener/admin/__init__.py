"""Admin endpoints: inbox page, messages, deliveries, health."""
