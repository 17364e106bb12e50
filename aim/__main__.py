"""`python -m aim`."""

from aim.commands.main import main

main()
