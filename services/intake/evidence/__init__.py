"""What answers rest on: files that are uploaded, kept by their hash and frozen with a submission; links, looked at."""
