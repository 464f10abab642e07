"""The ledger: every event of all topics, once, in an order that respects sequence and cause, under signed heads."""
