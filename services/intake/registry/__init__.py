"""The program's own view of who applies: governments that nobody has confirmed, and those registered twice."""
