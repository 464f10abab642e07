"""Openness: invitations, questions answered to all, charters open for comment, fees, and research by consent."""
