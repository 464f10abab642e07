"""`python -m services.cli` is `cec`."""

from services.cli.main import main

main()
