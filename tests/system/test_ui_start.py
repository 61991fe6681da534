# SPDX-License-Identifier: Apache-2.0
"""``make ui`` where Airflow does not come up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.waiting import PATIENCE

WITHOUT_PATIENCE = """
import sys
from pathlib import Path
from tests.harness import airflow_parts
from tools import ui
airflow_parts.READY_SECONDS = 0.0
ui.HOME = Path(sys.argv[1])
sys.exit(ui.main())
"""


def test_an_airflow_that_does_not_come_up_is_told_in_a_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_PATIENCE, str(tmp_path / "ui")],
        env=os.environ.copy(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == f"Airflow is not ready after 0 s; the logs are in {tmp_path / 'ui'}\n"
    assert list((tmp_path / "ui").glob("*.log"))
