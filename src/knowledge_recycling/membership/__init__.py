"""Who is in: halves of a pool, canaries, the plan of the shadows, and what an attacker sees."""
