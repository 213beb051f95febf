"""What operators read: inbox page, messages, deliveries, health."""
