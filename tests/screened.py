"""The shipped charter with a time zone and a holiday, and without its screening."""

from __future__ import annotations

import re

from tests.applicants import SHIPPED

_CALENDAR = """
[calendar]
zone = "America/New_York"
holidays = [2026-12-25]
"""

SCREENED = SHIPPED.replace("\n[applying]\n", f"{_CALENDAR}\n[applying]\n")

UNSCREENED = re.sub(r"(?ms)^\[applying\.screening\]$.*?(?=^\[scoring\]$)", "", SHIPPED)
"""What was submitted is reviewed, and reviewers are assigned at the close."""
