"""Who applies: governments and the people who act for them."""
