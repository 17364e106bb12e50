"""`python -m aim COMMAND`: one file a command."""
