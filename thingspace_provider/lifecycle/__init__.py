"""What each resource does, without Pulumi: check, diff, create, read, update, delete."""
