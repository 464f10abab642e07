"""Scoring: enrols reviewers, assigns them by the revealed seed, takes their reviews and computes the scores."""
