"""Stage 7: what leaks.

The copy detector looks at synthetic images, in every run but a private one, whose guarantee a
count made from private images would end.

First row, the paper's own protocol: train images are members, test images non-members, and
threshold attacks look at the logits of the Teacher and of the Student. Second row, the one to be
trusted, where `kr shadows` has run: whole pipelines on random halves of the training split.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from knowledge_recycling import artefacts, data
from knowledge_recycling.attacks import threshold
from knowledge_recycling.attacks.logit_margin import logit_margin
from knowledge_recycling.auditing.figures import Figures, Target
from knowledge_recycling.auditing.verdict import (
    CHANNELS,
    PRIMARY,
    Verdict,
    canary_arm,
    copies,
    judge,
)
from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.config import Config
from knowledge_recycling.data import Split
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership import plan, signals
from knowledge_recycling.membership.plan import Plan
from knowledge_recycling.results import AuditResult, ShadowAudit, SyntheticCopies
from knowledge_recycling.statistics.binomial import proportion
from knowledge_recycling.statistics.rates import (
    LEAST_NONMEMBERS,
    auc_estimate,
    roc_curve,
    tpr_at_fpr_estimate,
)
from knowledge_recycling.storage.files import read_json, read_npz, write_json, write_npz
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.copies import CopyFinder
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

LOOKED_AT = 1000
"""Synthetic images, and validation images at most, that the copy detector compares with train."""
WARNING = (
    "Train images are members and test images non-members, as in the paper. Where the two differ "
    "in anything else (hospital, time, class balance), an attack scores above chance without any "
    "leak; and these attacks are weak, so that a score near chance says little."
)


def run(config: Config, run_dir: RunDir) -> AuditResult:
    """Attacks Teacher and Student, and everything that the shadows have signals of."""
    runtime = Runtime.of(config).exact()
    members, nonmembers = data.load(config.data, run_dir.split(), "train", "test")
    folder = run_dir.stage("audit")
    targets, curves = _paper(config, run_dir, runtime, members, nonmembers)
    shadows = None
    if plan.exists(run_dir.shadows):
        verdict, shadows, exposed = _shadows(config, run_dir, runtime)
        for channel, target in verdict.targets.items():
            paper = targets.get(channel, Target({}))
            targets[channel] = replace(
                target,
                attacks=paper.attacks | target.attacks,
                aop=paper.aop,
                strongest=paper.strongest,
            )
        curves |= verdict.curves
        write_json(folder / "exposed_records_private.json", {"positions_in_source": exposed})
    write_npz(folder / "curves.npz", **curves)
    found = None
    if config.privacy.epsilon is None:
        (validation,) = data.load(config.data, run_dir.split(), "val")
        found = _copies(config, run_dir, members, validation)
    return AuditResult(
        protocols=("paper", "shadows") if shadows else ("paper",),
        warning=WARNING,
        copies=found,
        members=len(members.labels),
        nonmembers=len(nonmembers.labels),
        targets=targets,
        shadows=shadows,
    )


def _copies(config: Config, run_dir: RunDir, train: Split, validation: Split) -> SyntheticCopies:
    """Looks for copies of train images in a synthetic set, drawn as the Student's were."""
    runtime = Runtime.of(config)
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    source = artefacts.chosen_source(run_dir, teacher, runtime)
    seed = derive(config.seed, "copies")
    made = source.draw(LOOKED_AT, seed).images.permute(0, 2, 3, 1).cpu().numpy()
    used = np.random.default_rng(seed).permutation(len(validation))[:LOOKED_AT]
    groups = None if validation.groups is None else validation.groups[used]
    finder = CopyFinder(train.images, validation.images[used], groups)
    hits = finder(made)
    return SyntheticCopies(
        images=len(hits),
        found=int(hits.sum()),
        share=proportion(hits),
        by_chance=finder.by_chance,
    )


def _paper(
    config: Config, run_dir: RunDir, runtime: Runtime, members: Split, nonmembers: Split
) -> tuple[dict[str, Target], dict[str, np.ndarray]]:
    evaluation = run_dir.result("evaluation")
    targets: dict[str, Target] = {}
    curves: dict[str, np.ndarray] = {}
    for role, stage in artefacts.ROLES.items():
        network = artefacts.classifier(run_dir, stage, runtime)
        inside, outside = (
            threshold.scores(
                logits_of(network, runtime.images(split.images), runtime).cpu().numpy(),
                split.labels,
            )
            for split in (members, nonmembers)
        )
        accuracy = getattr(evaluation, role).accuracy
        attacks = {
            name: _figures(inside[name], outside[name], members, nonmembers, accuracy)
            for name in inside
        }
        strongest = max(attacks, key=lambda name: attacks[name].auc.value)
        targets[role] = Target(attacks, aop=attacks[strongest].aop, strongest=strongest)
        for name in inside:
            fpr, tpr = roc_curve(inside[name], outside[name])
            curves |= {f"{role}.{name}.fpr": fpr, f"{role}.{name}.tpr": tpr}
    return targets, curves


def _shadows(
    config: Config, run_dir: RunDir, runtime: Runtime
) -> tuple[Verdict, ShadowAudit, list[int]]:
    """Verdict, what result.json says beside it, and the most exposed records' positions."""
    plan = Plan.load(run_dir.shadows, config)
    ordinary = plan.kind == 0
    pool = plan.pool()
    shadows = [run_dir.shadow(k) for k in range(plan.membership.pipelines)]
    for shadow in shadows:
        _check_same_pipeline(run_dir, plan, shadow)
    phi = _signals(shadows, plan)
    own = {channel: phi[channel][:, ordinary] for channel in CHANNELS}
    groups = None if pool.groups is None else pool.groups[ordinary]
    membership = plan.membership.select(ordinary, groups)
    features = signals.blind_features(runtime.images(pool.images))[ordinary]
    verdict = judge(
        own,
        membership,
        features,
        pool.labels[ordinary],
        draws=config.audit.bootstrap_draws,
        seed=config.seed,
    )
    times = [read_json(shadow.path / "seconds.json") for shadow in shadows]
    about = ShadowAudit(
        count=membership.pipelines,
        pool=membership.records,
        patients=None if groups is None else membership.units,
        reuse_choices=plan.asked["reuse_choices"],
        primary=PRIMARY,
        powered=verdict.powered,
        control=verdict.control,
        power=verdict.power,
        copies=copies(own["synthetic"], phi["held_out"][:, ordinary], membership),
        canary_count=plan.asked["canaries"],
        canaries=canary_arm(phi, plan.membership, plan.canary_kinds(), seed=config.seed)
        if plan.asked["canaries"]
        else None,
        seconds_per_shadow=tuple(round(t["seconds"], 1) for t in times),
        threads_per_shadow=times[0]["threads"],
    )
    return verdict, about, pool.indices[ordinary][verdict.exposed].tolist()


def _check_same_pipeline(run_dir: RunDir, plan: Plan, shadow: RunDir) -> None:
    """Refuses shadows of another configuration, or of choices that the run has since made anew."""
    if not (shadow.path / "signals.npz").exists():
        return  # which is told next
    own = Config.load(shadow.path / "config.yaml")
    found = [line for line in plan.config.differences(own) if not line.startswith("seed:")]
    if plan.asked["reuse_choices"]:
        found += [
            f"{stage}: the run has chosen anew"
            for stage, key in (("selection", "snapshot"), ("tuning", "parameters"))
            if getattr(shadow.result(stage), key) != getattr(run_dir.result(stage), key)
        ]
    if found:
        raise KRError(
            f"{shadow.path.parent}: these shadows are not of this run's pipeline ({found[0]}). "
            "Move that folder away and run `kr shadows` again."
        )


def _signals(shadows: list[RunDir], plan: Plan) -> dict[str, np.ndarray]:
    """Signals (K, N) of every channel, classifiers' logits as phi."""
    found: dict[str, list[np.ndarray]] = {}
    for shadow in shadows:
        path = shadow.path / "signals.npz"
        if not path.exists():
            raise KRError(f"{path}: missing; run the same `kr shadows` command again to finish")
        for channel, values in read_npz(path).items():
            is_logits = values.ndim == 3
            row = logit_margin(values, plan.labels) if is_logits else values
            found.setdefault(channel, []).append(row)
    return {channel: np.stack(rows) for channel, rows in found.items()}


def _figures(
    inside: np.ndarray,
    outside: np.ndarray,
    members: Split,
    nonmembers: Split,
    accuracy: float,
) -> Figures:
    groups: dict[str, Any] = {
        "member_groups": members.groups,
        "nonmember_groups": nonmembers.groups,
    }
    auc = auc_estimate(inside, outside, **groups)
    enough = len(outside) >= LEAST_NONMEMBERS[0.01]
    tpr = tpr_at_fpr_estimate(inside, outside, 0.01, **groups) if enough else None
    return Figures(
        auc=auc,
        tpr_at_fpr={"0.01": tpr},
        aop=threshold.aop(accuracy, auc.value),
        protocol="paper",
    )
