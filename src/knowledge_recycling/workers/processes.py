"""Processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from knowledge_recycling.errors import KRError

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Done = TypeVar("Done")

KILLED = (
    "a worker of the shadows was killed, most often because memory ran out. The shadows that are "
    "done are kept: run the same again to go on, with fewer workers at a time if it was memory. "
    'In a script of your own, make the call under `if __name__ == "__main__":`, since each worker '
    "imports the script."
)


@dataclass(frozen=True)
class Processes:
    """Works in so many processes at a time; one alone is the caller's own."""

    workers: int

    @property
    def at_once(self) -> str:
        """For a sentence that says what the work costs."""
        many = self.workers > 1
        return f", {self.workers} at a time with the threads divided among them" if many else ""

    def map(
        self,
        work: Callable[[Shared, Task, int], Done],
        shared: Shared,
        tasks: Sequence[Task],
        threads: int | None,
    ) -> Generator[Done]:
        """Yields what the work returns, in the order in which the tasks end.

        Args:
            work: called with `shared`, a task and a number of threads.
            shared: what all tasks have in common.
            tasks: one call for each.
            threads: divided among the workers; None: as many as there are processors.

        Raises:
            KRError: a worker was killed; or what the work raises.
        """
        each = max(1, (threads or os.cpu_count() or 1) // self.workers)
        if self.workers == 1:
            yield from (work(shared, task, each) for task in tasks)
            return
        context = multiprocessing.get_context("spawn")
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(
            self.workers, mp_context=context, initializer=_serve, initargs=(os.getpid(),)
        ) as pool:
            try:
                for future in as_completed([pool.submit(work, shared, t, each) for t in tasks]):
                    yield future.result()
            except BrokenProcessPool:
                raise KRError(KILLED) from None
            except Exception:
                # Else the error would be told only after all others have run.
                pool.shutdown(cancel_futures=True)
                raise
            except BaseException:
                # Nobody who interrupts wants to wait until the work under way has ended.
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
                pool.shutdown(cancel_futures=True)
                raise


def _serve(parent: int) -> None:
    """Readies a worker: it leaves Ctrl-C to its parent, and ends once that is gone.

    A worker that outlived a killed command would work on beside the command that goes on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
