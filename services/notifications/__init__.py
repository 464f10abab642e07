"""Notifications: who is told of what the program made public, and how each delivery went."""
