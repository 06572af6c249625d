"""Processes of this machine as workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import knowledge_recycling as kr
from knowledge_recycling.workers import Processes, engine
from tests.workers import jobs
from tests.workers.watch import alive, children, wait_until


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_and_the_threads_are_divided(workers: int) -> None:
    found = set(Processes(workers).map(jobs.add, np.ones(3), [1, 2, 3], 4))
    assert found == {(1, 4.0, 4 // workers), (2, 5.0, 4 // workers), (3, 6.0, 4 // workers)}


def test_a_killed_worker_ends_in_a_sentence() -> None:
    with pytest.raises(kr.KRError, match="worker of the shadows was killed.*run the same again"):
        list(Processes(2).map(jobs.die, None, [1, 2], 1))


def test_a_refusal_is_told_as_it_is() -> None:
    with pytest.raises(kr.KRError, match=r"^task 1: is refused$"):
        list(Processes(2).map(jobs.refuse, None, [1], 1))


def test_an_interrupt_ends_the_workers_at_once_and_without_a_traceback(tmp_path: Path) -> None:
    program = (
        "import signal, sys\n"
        # A shell that starts this in the background has its children ignore interrupts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from knowledge_recycling.workers import Processes\n"
        "from tests.workers import jobs\n"
        "try: list(Processes(2).map(jobs.nap, sys.argv[1], [1, 2], 1))\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: (tmp_path / "1").exists() and (tmp_path / "2").exists())
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30) == ("interrupted\n", "")
    wait_until(lambda: not any(alive(pid) for pid in workers))


def test_engines_are_named() -> None:
    assert engine("processes", 2, None) == Processes(2)
    with pytest.raises(kr.KRError, match=r"^engine: 'dask' is not one of processes, ray$"):
        engine("dask", 2, None)
    with pytest.raises(kr.KRError, match="^address: is of a Ray cluster; ask for the engine ray"):
        engine("processes", 2, "auto")
