"""People: what is kept about whoever signs in, in one place."""
