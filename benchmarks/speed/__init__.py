"""What the time of this package's work is, beside others' time for the same work.

    python -m benchmarks.speed [--parts PART ...] [--peers PYTHON] [--repeats 5]

A part is a file of this folder that lists its measurements; `turns` makes them, `pages` writes
docs/results/speed.md, `plot` docs/images/speed.png.
"""
