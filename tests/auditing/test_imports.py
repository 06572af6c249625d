"""What `import knowledge_recycling.auditing` brings in, counted: scores alone need little."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import numpy, scipy.special
before = set(sys.modules)
import knowledge_recycling.auditing
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_auditor_needs_no_more_of_scipy_than_special() -> None:
    command = [sys.executable, "-c", PROGRAM]
    added = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    own = [name for name in added if name.startswith("knowledge_recycling")]
    assert "knowledge_recycling.auditing.auditor" in own
    assert [name for name in added if name.split(".")[0] in {"scipy", "sklearn", "torch"}] == []
    # `scipy.stats` and what it imports were 500 more.
    assert len(added) - len(own) < 40
