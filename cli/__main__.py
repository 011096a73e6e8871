"""`python -m bookreel.cli` is the `bookreel` command."""

from bookreel.cli.main import main

main()
