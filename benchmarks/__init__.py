"""What the chassis costs: each path beside the barest code that does the same work, on the same parts."""
