"""Measures from inside a process; the standard library alone, for peers' interpreters too."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable


def measured(work: Callable[[], object], **about: object) -> None:
    """Does the work and prints seconds of the clock and of all processors as one line of JSON.

    Args:
        work: child processes count once they have ended.
        about: printed with the seconds.
    """
    used, begin = processor(), time.perf_counter()
    work()
    seconds, used = time.perf_counter() - begin, processor() - used
    print(json.dumps({"seconds": round(seconds, 4), "processor": round(used, 4), **about}))


def processor() -> float:
    """Seconds of all processors that this process and its ended children have used."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in found)


def main(programs: dict[str, Callable[[int], None]]) -> None:
    """Runs the program that the command line names, at the size that it gives."""
    programs[sys.argv[1]](int(sys.argv[2]))
