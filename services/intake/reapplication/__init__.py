"""A new cycle's draft that starts from the last application: what was said then, and what became of it since."""
