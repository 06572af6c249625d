"""Shadows on a Ray cluster of two machines, which are two raylets here."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knowledge_recycling as kr
from knowledge_recycling import data, pipeline, shadow_runs
from knowledge_recycling.config import Config
from knowledge_recycling.membership import plan
from knowledge_recycling.workers import Processes, RayCluster, engine, fleeting, ray_cluster
from tests.faults.test_faults import SETTINGS
from tests.workers import jobs
from tests.workers.watch import alive, children, wait_until

COUNT, CANARIES = 8, 6
NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": 100 * 2**20,
    "include_dashboard": False,
}
LOOPBACK: dict[str, Any] = {
    "node_ip_address": "127.0.0.2"
}  # Ray takes 127.0.0.1 for the machine's own address


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Where Ray and the work that it runs write; of a short name, for Ray's sockets lie there."""
    folder = Path(tempfile.mkdtemp(prefix="kr-ray-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("TMPDIR", str(folder))
        # Ray listens on all addresses of the machine, and runs what it is sent.
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        (folder / "ray").mkdir()
        yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(home: Path) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 500}
    head = NODE | {"_system_config": quick}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        found.add_node(**NODE)
        yield found
    finally:
        found.shutdown()
        wait_until(lambda: not working_in(home))


def working_in(folder: Path) -> list[int]:
    """Processes that name a folder among their arguments, as all of Ray do."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes() and alive(int(path.parent.name)):
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def in_a_shadow(pid: int) -> bool:
    """Whether a process has a shadow's lock open."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return any(fleeting.PREFIX in os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 2
    images = rng.integers(0, 120, (96, 8, 8)) + 100 * labels[:, None, None]
    folder = tmp_path_factory.mktemp("runs")
    np.savez(folder / "set.npz", images=images.astype(np.uint8), labels=labels)
    return kr.run(folder / "set.npz", folder / "run", settings=SETTINGS, until="evaluation").path


def planned(trained: Path, target: Path, canaries: int = 0) -> tuple[kr.RunDir, Config]:
    """A copy of the run whose shadows are drawn."""
    shutil.copytree(trained, target)
    run, config = kr.RunDir(target), Config.load(target / "config.yaml")
    options = {"reuse_choices": True, "canary_count": canaries}
    plan.draw(run.shadows, run.split(), config, COUNT, **options)  # type: ignore[arg-type]
    return run, config


def signals(run: kr.RunDir, k: int) -> bytes:
    return (run.shadow(k).path / "signals.npz").read_bytes()


def test_work_is_done_and_refusals_come_home(cluster: Any, tmp_path: Path) -> None:
    place = RayCluster(2)  # at `auto`, which finds it
    found = set(place.map(jobs.add, np.ones(3), [1, 2, 3], None))
    assert found == {(1, 4.0, 1), (2, 5.0, 1), (3, 6.0, 1)}
    with pytest.raises(kr.KRError, match=r"^on the machine \S+: task 1: is refused$") as refusal:
        list(place.map(jobs.refuse, None, [1], 1))
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


def test_a_worker_that_dies_again_and_again_ends_in_a_sentence(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "RETRIES", 1)
    with pytest.raises(kr.KRError, match="died 2 times in a row.*run the same again to go on"):
        list(RayCluster(1, cluster.address).map(jobs.die, None, [1], 1))


def test_whoever_stops_listening_ends_the_work(cluster: Any, tmp_path: Path) -> None:
    found = RayCluster(2, cluster.address).map(jobs.nap, str(tmp_path), [0, 1], 1)
    assert next(found) == 0
    wait_until((tmp_path / "1").exists)
    napping = int((tmp_path / "1").read_text())
    assert alive(napping)
    found.close()
    wait_until(lambda: not alive(napping))


def test_with_a_machine_killed_all_shadows_end_bit_for_bit_as_processes_have_them(
    cluster: Any, home: Path, trained: Path, tmp_path: Path
) -> None:
    here, config = planned(trained, tmp_path / "here" / "run", CANARIES)
    there, _ = planned(trained, tmp_path / "there" / "run", CANARIES)
    options: dict[str, Any] = {"reuse_choices": True, "canaries": CANARIES}
    for k in range(4):
        shadow_runs.one(here, k, 1, keep_models=False)
    (second,) = cluster.worker_nodes
    raylet = second.all_processes["raylet"][0].process.pid
    killed: list[int] = []

    def kill_in_the_middle() -> None:
        wait_until(lambda: bool(list(there.shadows.glob("*/signals.npz"))))
        wait_until(lambda: any(in_a_shadow(worker) for worker in children(raylet)))
        killed.extend(children(raylet))
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    shadow_runs.run(there, config, COUNT, engine=RayCluster(2, cluster.address), **options)
    killer.join()
    assert killed
    assert [signals(there, k) for k in range(4)] == [signals(here, k) for k in range(4)]
    wait_until(lambda: not any(alive(pid) for pid in killed))
    wait_until(lambda: not list(home.glob(f"{fleeting.PREFIX}*")))
    assert not list(there.shadows.rglob("*.safetensors"))
    # What is missing another engine adds, and the audit makes no difference.
    of_ray = signals(there, 5)
    (there.shadow(5).path / "signals.npz").unlink()
    shadow_runs.run(there, config, COUNT, engine=Processes(1), **options)
    assert signals(there, 5) == of_ray
    pipeline.run_stage("audit", config, there)
    found = there.result("audit").shadows
    assert found is not None
    assert found.count == COUNT
    assert kr.verify(there)


def test_what_was_begun_here_is_cleared_away(trained: Path, tmp_path: Path) -> None:
    run, config = planned(trained, tmp_path / "run")
    shadow_runs.one(run, 0, 1, keep_models=True)
    shadow = run.shadow(0)
    common = shadow_runs._common(run, config)
    home = shadow_runs.Home(0, 1.0, 1, (shadow.path / "signals.npz").read_bytes())
    (shadow.path / "signals.npz").unlink()
    (shadow.path / "generator" / "state.pt").touch()
    shadow_runs._store(run, common, home)
    left = sorted(str(p.relative_to(shadow.path)) for p in shadow.path.rglob("*") if p.is_file())
    assert [name for name in left if not name.startswith(".")] == [  # neither networks nor state
        "config.yaml",
        "log.txt",
        "seconds.json",
        "selection/result.json",
        "signals.npz",
        "split.json",
        "tuning/result.json",
    ]


def test_another_version_is_refused(trained: Path, tmp_path: Path) -> None:
    run, config = planned(trained, tmp_path / "run")
    common = shadow_runs._common(run, config)
    other = replace(common, versions={**common.versions, "torch": "1.0"})
    with pytest.raises(kr.KRError, match=r"^torch is \S+ here but 1.0 on the machine that asks; "):
        shadow_runs.far(other, 0, 1)


def test_data_that_are_brought_along_are_not_read(trained: Path) -> None:
    config = Config.load(trained / "config.yaml").data
    source = data.open_source(config)
    elsewhere = config.model_copy(update={"source": "/no/such/place.npz"})
    with data.given(elsewhere, source):
        assert data.open_source(elsewhere) is source
    with pytest.raises(kr.KRError, match="does not exist"):
        data.open_source(elsewhere)


def test_names_of_files_stay_at_home(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = planned(trained, tmp_path / "run")
    source = data.open_source(config.data)
    named = replace(source, files=("smith.png",) * len(source))
    monkeypatch.setattr("knowledge_recycling.data.open_source", lambda config: named)
    assert shadow_runs._common(run, config).source.files is None


def test_models_cannot_be_kept(trained: Path) -> None:
    run = kr.RunDir(trained)
    config = Config.load(trained / "config.yaml")
    with pytest.raises(kr.KRError, match="^keep_models: is not for the engine ray, whose models"):
        shadow_runs.run(run, config, COUNT, engine=RayCluster(1), keep_models=True)


def test_no_cluster_and_no_ray_end_in_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("127.0.0.2:1", "ray://127.0.0.2:1", "127.0.0.2:x", "nowhere"):
        with pytest.raises(kr.KRError, match=f"^address: there is no Ray cluster at {address} "):
            list(RayCluster(1, address).map(jobs.add, np.ones(1), [1], 1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(kr.KRError, match=r"pip install 'knowledge-recycling\[ray\]'$"):
        engine("ray", 1, None)


def test_ray_is_imported_only_when_asked_for() -> None:
    code = "import sys, knowledge_recycling.workers; print('ray' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
    assert os.environ.get("RAY_ADDRESS") is None, "these tests start clusters of their own"
