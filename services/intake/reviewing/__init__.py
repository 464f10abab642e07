"""Reviewers: who reviews what, as scoring's events say, and what of an application's evidence they may read here."""
