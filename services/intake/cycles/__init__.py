"""When applications are taken: a cycle under its frozen charter, from its opening to its close."""
