# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of everything that takes bytes from outside, with atheris.

Usage: python -m tests.stress.fuzz [--seconds N] [TARGET ...]

Each target runs in a process of its own. An input that makes the package raise anything but its own errors, that takes
more than 10 seconds or 2 GB, is saved in tests/stress/crashes, where ``make test`` finds it.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

CRASHES = Path(__file__).resolve().with_name("crashes")
INPUT_SECONDS = 10
MEMORY_MB = 2048
IN_THIS_PROCESS = "--in-this-process"
INSTRUMENTED = [
    "airflow_provider_wxbank", "csv", "email", "http.client", "urllib.parse", "ipaddress", "requests.models", "urllib3",
]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Exit code: 0 if no target found a defect."""
    if arguments[:1] == [IN_THIS_PROCESS]:
        return _fuzz(arguments[1], arguments[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.stress.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=300, help="for each target (default %(default)s)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default all; an unknown one lists them")
    options = parser.parse_args(arguments)
    from tests.stress.fuzz_targets import TARGETS

    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"{', '.join(sorted(unknown))}: the targets are {', '.join(TARGETS)}")
    print(f"{'target':<20} {'executions':>11} {'a second':>9} {'coverage':>9} {'features':>9} {'MB':>6}", flush=True)
    failed = [name for name in options.targets or TARGETS if not _run(name, options.seconds)]
    if failed:
        print(f"Defects in: {', '.join(failed)}; the inputs are in {CRASHES}")
    return bool(failed)


def _run(name: str, seconds: int) -> bool:
    """Fuzz one target and print its figures; whether it found nothing."""
    from tests.stress.fuzz_targets import TARGETS

    target = TARGETS[name]
    CRASHES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wxbank-corpus-") as folder:
        corpus, words = Path(folder) / "corpus", Path(folder) / "words"
        corpus.mkdir()
        for number, seed in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), "ascii")
        command = [
            *(sys.executable, "-m", "tests.stress.fuzz", IN_THIS_PROCESS, name, str(corpus)),
            *(f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MB}"),
            *(f"-max_len={target.max_bytes}", f"-dict={words}", f"-artifact_prefix={CRASHES}/{name}--"),
            *("-print_final_stats=1", "-detect_leaks=0"),
        ]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            code = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT).returncode
        text = log.read_text("utf-8", "replace")
    executions = _last(r"stat::number_of_executed_units:\s*(\d+)", text)
    a_second = _last(r"stat::average_exec_per_sec:\s*(\d+)", text)
    coverage, features = _last(r" cov: (\d+)", text), _last(r" ft: (\d+)", text)
    memory = _last(r"stat::peak_rss_mb:\s*(\d+)", text)
    print(f"{name:<20} {executions:>11} {a_second:>9} {coverage:>9} {features:>9} {memory:>6}", flush=True)
    if code or not executions.isdigit():
        print(text[-6000:])
        return False
    return True


def _last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else "?"


def _escaped(word: str) -> str:
    """A word as libFuzzer's dictionaries write it; ``\\xNN`` in it is kept as that byte."""
    data = word.encode("utf-8")
    text = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'\\"' else f"\\x{byte:02x}" for byte in data)
    return re.sub(r"\\x5cx([0-9a-f]{2})", r"\\x\1", text)


def _fuzz(name: str, arguments: list[str]) -> int:
    """Fuzz in this process, until the time is over or a defect is found; does not return."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print("atheris is missing: install the dependency group fuzz")
        return 2
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        targets = importlib.import_module("tests.stress.fuzz_targets")
    atheris.Setup([f"fuzz {name}", *arguments], targets.TARGETS[name].run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
