"""The `cec` command. Every command has an example in its help, `--json` where it prints data, and one-line errors."""
