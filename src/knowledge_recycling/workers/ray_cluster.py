"""Machines of a Ray cluster (https://docs.ray.io), of which this process is the driver.

What the tasks share travels once, through Ray's object store, to each machine that works. A task
whose worker or machine dies is run again elsewhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import platform
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from knowledge_recycling.errors import KRError
from knowledge_recycling.training import progress

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Done = TypeVar("Done")

RETRIES = 3
"""How often a task is run again whose worker or machine died."""
PATIENCE = 30.0
"""Seconds after which it is looked whether any machine is large enough for a task."""
MISSING = "the engine ray needs the package ray: pip install 'knowledge-recycling[ray]'"
ELSEWHERE = (
    "a machine of the Ray cluster cannot run a shadow ({0}). Install the same versions of "
    "knowledge-recycling and of what it needs on every machine, in the same Python."
)
DIED = (
    "a worker of the shadows, or the machine it was on, died {0} times in a row ({1}), most often "
    "because memory ran out. The shadows that are done are kept: run the same again to go on, with "
    "fewer workers at a time if it was memory."
)


def check_installed() -> None:
    """Refuses where Ray cannot be imported.

    Raises:
        KRError: says how to install it.
    """
    if importlib.util.find_spec("ray") is None:
        raise KRError(MISSING)


@dataclass(frozen=True)
class RayCluster:
    """Works on the machines of a Ray cluster.

    Attributes:
        workers: tasks at a time.
        address: `auto` (the cluster that this machine is in), `local` (one of this machine alone,
            for this call), `HOST:PORT`, or `ray://HOST:PORT`.
        gpus: GPUs that each task has to itself.
    """

    workers: int
    address: str = "auto"
    gpus: int = 0

    @property
    def at_once(self) -> str:
        """For a sentence that says what the work costs."""
        return f", {self.workers} at a time on the Ray cluster"

    def map(
        self,
        work: Callable[[Shared, Task, int], Done],
        shared: Shared,
        tasks: Sequence[Task],
        threads: int | None,
    ) -> Generator[Done]:
        """Yields what the work returns, in the order in which the tasks end.

        Args:
            work: called with `shared`, a task and a number of threads; a function that can be
                imported on every machine.
            shared: what all tasks have in common.
            tasks: one call for each.
            threads: of each task; None: the cluster's processors, divided among the workers.

        Raises:
            KRError: there is no cluster, its machines die, or what the work raises as such.
        """
        check_installed()
        import ray

        with _connected(self.address):
            each = threads or _share(self.workers)
            call: Any = ray.remote(_told).options(
                num_cpus=each, num_gpus=self.gpus, max_retries=RETRIES, retry_exceptions=False
            )
            common = ray.put(shared)
            todo = list(tasks)
            under_way: list[Any] = []
            try:
                while todo or under_way:
                    while todo and len(under_way) < self.workers:
                        under_way.append(call.remote(work, common, todo.pop(0), each))
                    (ended, *_), under_way = _next(under_way, each)
                    yield _outcome(ended)
            finally:
                for reference in under_way:
                    ray.cancel(reference, force=True)


@dataclass(frozen=True)
class _Refused:
    """A `KRError` on its way home, without the traceback that Ray would add."""

    message: str


def _told(
    work: Callable[[Shared, Task, int], Done], shared: Shared, task: Task, threads: int
) -> Done | _Refused:
    try:
        return work(shared, task, threads)
    except KRError as error:
        return _Refused(f"on the machine {platform.node()}: {error}")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection to the cluster, or the one that the caller's program has already."""
    import ray

    if ray.is_initialized():
        yield
        return
    with _place_of(address) as options:
        try:
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:  # Ray raises a dozen kinds
            reason = str(error).splitlines()[0].rstrip(".")
            raise KRError(
                f"address: there is no Ray cluster at {address} that this machine can join "
                f"({reason}). Start one with Ray's command `ray start`, name another address, or "
                "take `local`."
            ) from None
        try:
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fails at once where nothing listens, for which Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextlib.contextmanager
def _place_of(address: str) -> Iterator[dict[str, Any]]:
    """How Ray is started here for this call alone: closed to others, and leaving nothing."""
    if address != "local":
        yield {}
        return
    # Ray asks whoever connects for a token, and would else keep one in the user's home.
    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    # Ray opens its folder to all users, so it gets one in a closed one; of a short name, for its
    # sockets lie there.
    folder = tempfile.mkdtemp(prefix="kr-ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
    try:
        yield {"include_dashboard": False, "_temp_dir": os.path.join(folder, "r")}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for name in added:
            del os.environ[name]


def _share(workers: int) -> int:
    """Threads of a task: its part of the cluster's processors, at most those of a machine."""
    cpus = _cpus()
    return max(1, min(sum(cpus) // workers, max(cpus, default=1)))


def _cpus() -> list[int]:
    """Of each machine that is alive."""
    import ray

    return [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]


def _next(under_way: list[Any], each: int) -> tuple[list[Any], list[Any]]:
    """Waits for a task that has ended; returns it and the others."""
    import ray

    told = False
    while True:
        ended, others = ray.wait(under_way, timeout=PATIENCE)
        if ended:
            return ended, others
        if not told and max(_cpus(), default=0) < each:
            progress.say(f"waiting: no machine of the Ray cluster has {each} processors")
            told = True


def _outcome(reference: Any) -> Any:
    """What a task returned.

    Raises:
        KRError: it was refused, or its workers died.
    """
    import ray
    from ray import exceptions

    try:
        found = ray.get(reference)
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, ImportError):
            raise KRError(ELSEWHERE.format(error.cause)) from None
        raise
    except exceptions.RayError as error:
        raise KRError(DIED.format(RETRIES + 1, type(error).__name__)) from None
    if isinstance(found, _Refused):
        raise KRError(found.message)
    return found
