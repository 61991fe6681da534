# SPDX-License-Identifier: Apache-2.0
"""The alert rules in a real Prometheus: each fires when it should, and none on a day on which all goes well."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "docs/wxbank-prometheus-rules.yaml"
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool (Debian: prometheus)")

Series = dict[str, str]
"""The values of each series, a minute each: ``0+2x60`` grows by 2 sixty times, ``_x20`` is none yet."""

PACKAGE = 'connection="bank",package="8473295"'
UPLOADED = f'{PACKAGE},bank_type="ICBC_DEBIT",outcome'

BAD: dict[str, tuple[int, Series]] = {
    # Minutes after which it fires. The first value of a series is as bad as one more.
    "WxBankQuotaUsedUp": (25, {'calls/{connection="bank",endpoint="upload",outcome="quota_reached"}': "_x20 1x60"}),
    "WxBankQuotaLow": (30, {f"quota_left{{{PACKAGE}}}": "250x60", f'upload_files/{{{UPLOADED}="uploaded"}}': "0+9x60"}),
    "WxBankFailRatioHigh": (
        30, {f"wait_fail_ratio{{{PACKAGE}}}": "_x20 0.8x60", f"wait_failed/{{{PACKAGE}}}": "_x20 800x60"},
    ),
    "WxBankUnaccounted": (25, {f"wait_unaccounted/{{{PACKAGE}}}": "_x20 37x60"}),
    "WxBankWaitStuck": (
        240, {f"wait_processing{{{PACKAGE}}}": "13x300", f'wait_polls/{{{PACKAGE},outcome="ok"}}': "0+1x300"},
    ),
    "WxBankPollsFail": (40, {f'wait_polls/{{{PACKAGE},outcome="failed"}}': "0+1x60"}),
    "WxBankFilesNotUploaded": (25, {f'upload_files/{{{UPLOADED}="failed"}}': "_x20 3x60"}),
    "WxBankVerificationFails": (20, {'calls/{connection="bank",endpoint="list",outcome="unverified"}': "0+1x60"}),
    "WxBankSignatureRefused": (20, {'calls/{connection="bank",endpoint="list",outcome="unauthorized"}': "0+1x60"}),
    "WxBankCallsRepeated": (20, {'calls_repeated/{connection="bank",trouble="limited"}': "0+3x60"}),
}  # fmt: skip

GOOD: Series = {
    'calls/{connection="bank",endpoint="upload",outcome="ok"}': "0+9x600",
    'calls_repeated/{connection="bank",trouble="no_answer"}': "_x100 1x500",
    f'upload_files/{{{UPLOADED}="uploaded"}}': "_x10 9+9x20 180x500",
    f"quota_left{{{PACKAGE}}}": "_x10 5000-9x20 4820x500",
    f"wait_processing{{{PACKAGE}}}": "_x30 20x40 20-1x20 0x500",
    f'wait_polls/{{{PACKAGE},outcome="ok"}}': "_x30 0+1x60 60x500",
    f'wait_polls/{{{PACKAGE},outcome="failed"}}': "_x40 3x500",
    f"wait_matched/{{{PACKAGE}}}": "_x95 990000x500",
    f"wait_failed/{{{PACKAGE}}}": "_x95 10000x500",
    f"wait_fail_ratio{{{PACKAGE}}}": "_x95 0.01x500",
}

FIRING = "count by (alertname) (ALERTS{alertstate='firing'})"


def checked(folder: Path, suffix: str, series: Series, firing: dict[int, list[str]]) -> None:
    """Let Prometheus see the series, and compare which alerts fire after so many minutes."""
    named = {f"airflow_wxbank_{name.replace('/', suffix)}": values for name, values in series.items()}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in named.items()],
        "promql_expr_test": [
            {
                "expr": FIRING,
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts],
            }
            for minutes, alerts in firing.items()
        ],
    }
    # JSON is YAML.
    file = folder / "tests.yaml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_there_is_a_bad_day_for_each_alert() -> None:
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, "check", "rules", RULES], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, f"{len(BAD)} rules found" in ran.stdout) == (0, True), ran.stdout + ran.stderr


@pytest.mark.parametrize("suffix", ["", "_total"], ids=["statsd", "opentelemetry"])
@pytest.mark.parametrize("alert", BAD)
def test_an_alert_fires(tmp_path: Path, alert: str, suffix: str) -> None:
    minutes, series = BAD[alert]
    checked(tmp_path, suffix, series, {minutes: [alert]})


@pytest.mark.parametrize("suffix", ["", "_total"], ids=["statsd", "opentelemetry"])
def test_no_alert_fires_when_all_goes_well(tmp_path: Path, suffix: str) -> None:
    checked(tmp_path, suffix, GOOD, {minutes: [] for minutes in range(0, 600, 5)})
