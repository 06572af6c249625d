"""Where work that is done many times over is done: processes of this machine, or a Ray cluster.

An engine has a sentence `at_once` and one method, `map(work, shared, tasks, threads)`: it yields
`work(shared, task, threads)` of each task, in the order in which they end.
"""

from __future__ import annotations

from knowledge_recycling.errors import KRError
from knowledge_recycling.workers.processes import Processes
from knowledge_recycling.workers.ray_cluster import RayCluster, check_installed

Engine = Processes | RayCluster
ENGINES = ("processes", "ray")
ALONE = Processes(1)


def engine(name: str, workers: int, address: str | None) -> Engine:
    """The engine that is asked for.

    Args:
        name: one of `ENGINES`.
        workers: tasks at a time.
        address: of the Ray cluster; None: `auto`.

    Raises:
        KRError: no such engine, Ray is not installed, or an address where none is used.
    """
    if name == "processes":
        if address is not None:
            raise KRError("address: is of a Ray cluster; ask for the engine ray too")
        return Processes(workers)
    if name == "ray":
        check_installed()
        return RayCluster(workers, address or "auto")
    raise KRError(f"engine: {name!r} is not one of {', '.join(ENGINES)}")


__all__ = ["ALONE", "ENGINES", "Engine", "Processes", "RayCluster", "engine"]
