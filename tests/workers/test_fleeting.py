"""Folders that are gone afterwards."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from knowledge_recycling.workers import fleeting
from tests.workers.watch import wait_until


def test_the_folder_is_private_and_gone_afterwards() -> None:
    with fleeting.folder() as path:
        (path / "shadows").mkdir()
        (path / "shadows" / "network.safetensors").touch()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert not path.exists()


def test_it_is_gone_where_the_process_is_killed() -> None:
    program = (
        "import time\n"
        "from knowledge_recycling.workers import fleeting\n"
        "with fleeting.folder() as path:\n"
        "    (path / 'state.pt').touch()\n"
        "    print(path, flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    path = Path(process.stdout.readline().strip())
    assert (path / "state.pt").exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until(lambda: not path.exists())
