"""The demonstration: a whole cycle, played from a charter and a cohort file through the public interfaces."""
