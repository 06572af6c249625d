"""Files: the one atomic write, run directories, networks, logs."""
