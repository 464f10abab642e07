"""Deadlines beside the cycle's own: more time for one application, and reminders of what is not submitted."""
