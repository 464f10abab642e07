"""What the program makes of submitted applications before they are reviewed: eligible, ineligible, or sent back."""
