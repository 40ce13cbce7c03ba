"""`python -m herdbook` is the `herdbook` command."""

from herdbook.cli.main import main

main()
