"""The whole job from arrays: train, see what the Student costs, use it. About two minutes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.datasets import load_digits

import knowledge_recycling as kr


def main(out: str = "runs/whole_job", settings: Sequence[str] = ()) -> kr.Run:
    """Trains Teacher, Generator and Student on digits, and shows what came of it."""
    digits = load_digits()
    images, labels = digits.images / 16, digits.target  # (n, 8, 8) in 0..1, and (n,)

    # The same call again goes on where it was stopped. Patients, where known, are a third array.
    run = kr.run((images, labels), out, preset="demo", settings=settings)
    print(run)
    for measure, teacher, student, difference in run.summary():
        print(f"{measure}: Teacher {teacher}, Student {student}, difference {difference}")

    # The Student is an ordinary torch.nn.Module: images (n, 1, 8, 8) in -1..1 to logits.
    inputs = torch.tensor(2 * images[:5, None] - 1, dtype=torch.float32)
    print("The Student reads", run.student(inputs).argmax(1).tolist(), "in", labels[:5].tolist())
    print("The report is", kr.report(run))
    return run


if __name__ == "__main__":
    main()
