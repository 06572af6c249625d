"""Membership attacks, one paper a file: signals in, scores out (higher = member); no torch."""
