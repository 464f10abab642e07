"""Intake: opens and closes cycles, keeps governments' people and drafts, takes applications in until the deadline."""
