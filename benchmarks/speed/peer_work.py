"""The same work by other tools, each in its own way; runs in the peers' interpreter.

That interpreter lacks what most of this package imports: nothing here needs more than torch.
"""

from __future__ import annotations

import logging
import tempfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.speed.clock import main, measured
from benchmarks.speed.work import (
    BATCH,
    BLOCKS,
    CLASSES,
    EPOCHS,
    LEARNING_RATE,
    SHADOWS,
    SIZE,
    WEIGHT_DECAY,
    WIDTH,
    halves,
    network,
    pictures,
    sides,
    signals,
)

DRAWS = 1000


def _inputs(records: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images, labels = pictures(2 * records)
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1, labels


def art(records: int) -> None:
    """`PyTorchClassifier.fit` of the Adversarial Robustness Toolbox, without augmentation."""
    from art.estimators.classification import PyTorchClassifier

    x, y = _inputs(records)

    def work() -> None:
        for k, half in enumerate(halves(records)):
            torch.manual_seed(k)
            model = network()
            classifier = PyTorchClassifier(
                model=model,
                loss=nn.CrossEntropyLoss(),
                optimizer=torch.optim.AdamW(
                    model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
                ),
                input_shape=(1, SIZE, SIZE),
                nb_classes=CLASSES,
                device_type="cpu",
            )
            classifier.fit(x[half], y[half], batch_size=BATCH, nb_epochs=EPOCHS)

    measured(work, threads=torch.get_num_threads())


def sacroml(records: int) -> None:
    """What SACRO-ML's LiRA attack trains its shadows with; the loop in it is `plain.train`.

    Without augmentation, as its users' loops are given tensors.
    """
    from sacroml.attacks.model_pytorch import PytorchModel
    from sacroml.attacks.utils import train_shadow_models

    logging.disable(logging.INFO)
    x, y = _inputs(records)
    shape = {"channels": 1, "classes": CLASSES, "width": WIDTH, "blocks": BLOCKS, "size": SIZE}
    model = PytorchModel(
        network(),
        model_module_path="knowledge_recycling/classifiers/resnet.py",
        model_params=shape,
        train_module_path="benchmarks/speed/plain.py",
        train_params={"epochs": EPOCHS, "augmented": False},
        batch_size=BATCH,
    )
    with tempfile.TemporaryDirectory() as folder:
        measured(
            lambda: train_shadow_models(model, x, y, records, SHADOWS, folder),
            threads=torch.get_num_threads(),
        )


def sacroml_scores(records: int) -> None:
    """SACRO-ML's online scores of every pipeline as the target, the others its shadows."""
    from sacroml.attacks.likelihood_attack import LIRAAttack

    logging.disable(logging.INFO)
    phi, mask = signals(records)
    p = 1 / (1 + np.exp(-phi))
    labels = np.zeros(records, dtype=np.int64)

    def confidences(target: int, inside: bool) -> dict[int, list[float]]:
        chosen = mask == inside
        chosen[target] = False
        return {n: phi[chosen[:, n], n].tolist() for n in range(records)}

    with tempfile.TemporaryDirectory() as folder:
        attack = LIRAAttack(output_dir=folder, write_report=False, mode="online-carlini")
        given = [
            (labels, np.stack([p[k], 1 - p[k]], 1), confidences(k, False), confidences(k, True))
            for k in range(len(phi))
        ]
        measured(lambda: [attack._compute_scores(*of) for of in given])


def jax_privacy(records: int) -> None:
    """`CanaryScoreAuditor` of jax_privacy: what `audit_scores` gives, by its bootstrap."""
    from jax_privacy import auditing

    inside, outside = sides(records)
    draws = auditing.BootstrapParams(num_samples=DRAWS, seed=0)

    def work() -> None:
        auditor = auditing.CanaryScoreAuditor(inside, outside)
        auditor.attack_auroc(bootstrap_params=draws)
        for fpr in (0.01, 0.001):
            auditor.tpr_at_given_fpr(fpr, bootstrap_params=draws)
        auditor.epsilon_clopper_pearson(0.05, threshold_strategy=auditing.Split(seed=0))

    measured(work)


if __name__ == "__main__":
    main(
        {
            "art": art,
            "sacroml": sacroml,
            "sacroml_scores": sacroml_scores,
            "jax_privacy": jax_privacy,
        }
    )
