"""Erasing a person: what is kept of them here, and the sealed blocks that all services drop."""
