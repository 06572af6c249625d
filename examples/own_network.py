"""A network of your own for Teacher and Student, named by its import path. About a minute."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

import knowledge_recycling as kr


def make(channels: int, classes: int, size: int) -> nn.Module:
    """Images (n, channels, size, size) in -1..1 to logits (n, classes)."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (size // 2) ** 2, classes),
    )


def main(out: str = "runs/own_network", settings: Sequence[str] = ()) -> kr.Run:
    """Trains this network as the Teacher; the Student takes the Teacher's unless told otherwise."""
    own = "teacher.network=own_network:make"  # module:function, importable where it runs
    run = kr.run("digits", out, preset="demo", until="evaluation", settings=(own, *settings))
    print(run)
    return run


if __name__ == "__main__":
    main()
