"""Open311 probes: what a government's own 311 system says, read from outside, by request and on schedule."""
