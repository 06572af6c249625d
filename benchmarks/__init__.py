"""Commands that write the committed result files which the docs quote."""
