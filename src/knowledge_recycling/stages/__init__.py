"""The stages of Knowledge Recycling: each `run(config, run_dir)` returns its frozen `Result`.

Stages never import each other; they meet only through the run directory.
"""
