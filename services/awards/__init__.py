"""Awards: decides by the charter, grants designations, announces the cohort, and follows each term to its end."""
