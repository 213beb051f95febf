"""Lifecycle of each resource type, without Pulumi: check, diff, create, read, update, delete."""
