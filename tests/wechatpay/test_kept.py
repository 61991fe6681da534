# SPDX-License-Identifier: Apache-2.0
"""The list of certificates is kept for the next process, which believes nothing of it that it has not verified."""

from __future__ import annotations

import json
import os
import random
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.packages.endpoints import create_task, list_tasks_page
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.refreshing import DOWNLOAD_PAUSE, REFRESH_AFTER
from airflow_provider_wxbank.wechatpay.errors import TryLater, UnverifiedAnswer
from airflow_provider_wxbank.wechatpay.kept import KeptList, kept_list
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings
from tests.conftest import PACKAGE, NewSimulator
from tests.harness.clock import Clock
from tests.harness.connections import settings_of
from tests.harness.files import agreement_file
from tests.harness.waiting import until
from tests.wechatpay.conftest import downloads

NewTask = Callable[[], Client]
"""The client of a task, which is a process of its own and has only what is kept."""


@pytest.fixture
def settings(certified: Simulator) -> Settings:
    return settings_of(certified)


@pytest.fixture
def new_task(settings: Settings, clock: Clock) -> NewTask:
    return lambda: Client(settings, clock=clock, sleep=lambda _: None, kept=kept_list(settings))


@pytest.fixture
def kept(settings: Settings, new_task: NewTask) -> KeptList:
    """What the first task has kept."""
    list_tasks_page(new_task(), PACKAGE)
    found = kept_list(settings)
    assert found is not None
    assert found.read() is not None
    return found


def test_tasks_that_only_read_and_upload_download_one_list_in_all(
    certified: Simulator, new_task: NewTask, clock: Clock
) -> None:
    files = [agreement_file(new_task(), 0), agreement_file(new_task(), 1)]
    before = downloads(certified)
    for file in files:
        create_task(new_task(), PACKAGE, *file)
        clock.now += REFRESH_AFTER / 3
    assert list_tasks_page(new_task(), PACKAGE).total_count == 2
    assert downloads(certified) == before
    clock.now += REFRESH_AFTER / 2
    list_tasks_page(new_task(), PACKAGE)
    assert downloads(certified) == before + 1


@pytest.mark.usefixtures("kept")
def test_a_task_that_encrypts_has_a_list_of_its_own(certified: Simulator, new_task: NewTask, clock: Clock) -> None:
    """What was encrypted with a key that was withdrawn meanwhile cannot be taken back."""
    serial = certified.rotate_certificate(overlap=False)
    client = new_task()
    assert client.encryption_key().serial_no == serial
    create_task(client, PACKAGE, *agreement_file(client, 0))
    assert certified.report()["packages"][PACKAGE]["undecryptable"] == 0
    # Nor does a task that has verified with the kept list, and cannot download.
    client = new_task()
    list_tasks_page(client, PACKAGE)
    certified.add_fault(Fault("internal-error", on="certificates"))
    with pytest.raises(TryLater):
        client.encryption_key()
    certified.clear_faults()
    clock.now += DOWNLOAD_PAUSE + 1
    assert client.encryption_key().serial_no == serial


@pytest.mark.usefixtures("kept")
def test_an_answer_that_a_newer_certificate_signs_is_verified_after_one_download(
    certified: Simulator, new_task: NewTask
) -> None:
    certified.rotate_certificate(overlap=False)
    for _ in range(3):
        list_tasks_page(new_task(), PACKAGE)
    assert downloads(certified) == 2


def test_a_process_that_runs_for_long_does_not_verify_with_what_it_found_for_ever(
    certified: Simulator, kept: KeptList, new_task: NewTask, clock: Clock
) -> None:
    client = new_task()
    clock.now += REFRESH_AFTER - 10
    list_tasks_page(client, PACKAGE)
    assert downloads(certified) == 1
    clock.now += 20
    list_tasks_page(client, PACKAGE)
    assert downloads(certified) == 2


def test_what_is_kept_stays_in_use_as_long_as_no_newer_list_can_be_had(
    certified: Simulator, kept: KeptList, new_task: NewTask, clock: Clock
) -> None:
    """As it would, had this process downloaded it."""
    clock.now += REFRESH_AFTER - 60
    client = new_task()
    list_tasks_page(client, PACKAGE)
    assert downloads(certified) == 1
    certified.add_fault(Fault("internal-error", on="certificates"))
    clock.now += 120
    list_tasks_page(client, PACKAGE)
    assert downloads(certified) > 1
    certified.clear_faults()
    before = downloads(certified)
    clock.now += DOWNLOAD_PAUSE + 1
    list_tasks_page(client, PACKAGE)
    assert downloads(certified) == before + 1


def test_threads_that_begin_at_once_look_once(
    certified: Simulator, kept: KeptList, settings: Settings, clock: Clock
) -> None:
    looks = []

    class Slow(KeptList):
        def read(self) -> Any:
            looks.append(threading.current_thread())
            # Others have come here, if they can, before this one has an answer.
            has_begun.wait()
            return super().read()

    has_begun = threading.Event()
    client = Client(settings, clock=clock, sleep=lambda _: None, kept=Slow(kept.path))
    with ThreadPoolExecutor(4) as pool:
        pages = [pool.submit(list_tasks_page, client, PACKAGE) for _ in range(4)]
        until(lambda: certified.report()["requests"]["list"] == 1 + 4)
        has_begun.set()
        assert [page.result().total_count for page in pages] == [0] * 4
    assert len(looks) == 1
    assert downloads(certified) == 1


class Ended(BaseException):
    """As Airflow's timeout of a task, or Ctrl-C."""


def test_what_ends_a_task_while_it_keeps_a_list_is_not_lost(
    new_task: NewTask, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    replace_file = Path.replace

    def interrupted(self: Path, target: Path) -> None:
        replace_file(self, target)
        raise Ended

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(Ended):
        list_tasks_page(new_task(), PACKAGE)


def altered(kept: KeptList, **changes: object) -> str:
    return json.dumps({**json.loads(kept.path.read_text()), **changes})


SPOILT: dict[str, Callable[[KeptList], str]] = {
    "nothing": lambda kept: "",
    "no JSON": lambda kept: kept.path.read_text()[:-9],
    "another JSON": lambda kept: "[1]",
    "deep JSON": lambda kept: "[" * 100_000,
    "no body": lambda kept: altered(kept, body=None),
    "another time": lambda kept: altered(kept, **{"Wechatpay-Timestamp": "1799999999"}),
    "no time": lambda kept: altered(kept, **{"Wechatpay-Timestamp": "١٢٣"}),
    "another nonce": lambda kept: altered(kept, **{"Wechatpay-Nonce": "x"}),
    "another serial": lambda kept: altered(kept, **{"Wechatpay-Serial": "0A"}),
    "a probe": lambda kept: altered(kept, **{"Wechatpay-Signature": "WECHATPAY/SIGNTEST/x"}),
    "an empty list": lambda kept: altered(kept, body=b64encode(b'{"data":[]}').decode()),
    "far too long": lambda kept: " " * 50_000_000 + kept.path.read_text(),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_does_not_verify_is_downloaded_and_replaced(
    certified: Simulator, kept: KeptList, new_task: NewTask, spoil: Callable[[KeptList], str]
) -> None:
    kept.path.write_text(spoil(kept))
    assert list_tasks_page(new_task(), PACKAGE).total_count == 0
    assert downloads(certified) == 2
    assert list_tasks_page(new_task(), PACKAGE).total_count == 0
    assert downloads(certified) == 2


def test_no_altered_byte_of_the_sealed_list_is_believed(
    certified: Simulator, kept: KeptList, new_task: NewTask
) -> None:
    text = kept.path.read_text()
    body = b64decode(json.loads(text)["body"])
    random_bytes = random.Random(7)
    for count in range(1, 21):
        place = random_bytes.randrange(len(body))
        changed = bytes([*body[:place], body[place] ^ 1, *body[place + 1 :]])
        kept.path.write_text(altered(kept, body=b64encode(changed).decode()))
        list_tasks_page(new_task(), PACKAGE)
        assert downloads(certified) == 1 + count
        kept.path.write_text(text)


def test_a_list_of_another_simulator_or_key_is_of_no_use(
    certified: Simulator,
    kept: KeptList,
    new_simulator: NewSimulator,
    new_task: NewTask,
    settings: Settings,
    clock: Clock,
) -> None:
    other = new_simulator(clock=clock)
    connection = other.airflow_connection()
    others = read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])
    theirs = kept_list(others)
    assert theirs is not None
    assert theirs.path != kept.path
    list_tasks_page(Client(others, clock=clock, kept=theirs), PACKAGE)
    theirs.path.replace(kept.path)
    list_tasks_page(new_task(), PACKAGE)
    assert downloads(certified) == 2
    # After the APIv3 key has been set anew, the list must be had with the new one.
    wrong = replace(settings, apiv3_key="x" * 32)
    with pytest.raises(UnverifiedAnswer, match="APIv3 key"):
        list_tasks_page(Client(wrong, clock=clock, sleep=lambda _: None, kept=kept_list(wrong)), PACKAGE)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_list_of_another_day_is_not_used(
    certified: Simulator, kept: KeptList, new_task: NewTask, clock: Clock, days: int
) -> None:
    clock.now += days * 86_400
    list_tasks_page(new_task(), PACKAGE)
    assert downloads(certified) == 2


def lead_astray(kept: KeptList, how: str, elsewhere: Path) -> None:
    folder = kept.path.parent
    if how == "others may write":
        folder.chmod(0o770)
    elif how == "the folder is a link":
        folder.rename(elsewhere)
        folder.symlink_to(elsewhere)
    elif how == "the folder is a file":
        kept.path.unlink()
        folder.rmdir()
        folder.touch()
    elif how == "the list is a link":
        kept.path.rename(elsewhere)
        kept.path.symlink_to(elsewhere)
    elif how == "the list is a pipe":
        kept.path.unlink()
        os.mkfifo(kept.path)
    else:
        kept.path.unlink()
        kept.path.mkdir()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("how", "is_mended"),
    [
        ("others may write", False),
        ("the folder is a link", False),
        ("the folder is a file", False),
        ("the list is a folder", False),
        ("the list is a link", True),
        ("the list is a pipe", True),
    ],
)
def test_a_place_that_is_not_ours_alone_is_left_alone(
    certified: Simulator, kept: KeptList, new_task: NewTask, tmp_path: Path, how: str, is_mended: bool
) -> None:
    lead_astray(kept, how, tmp_path / "elsewhere")
    descriptors = open_files()
    for _ in range(20):
        assert kept.read() is None
    assert open_files() <= descriptors
    for _ in range(2):
        assert list_tasks_page(new_task(), PACKAGE).total_count == 0
    assert downloads(certified) == (2 if is_mended else 3)
    assert [path.name for path in kept.path.parent.glob("tmp*")] == []


def test_the_file_is_ours_alone_and_holds_no_secret(kept: KeptList, settings: Settings) -> None:
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert kept.path.parent.stat().st_mode & 0o777 == 0o700
    assert settings.apiv3_key is not None
    assert settings.apiv3_key not in kept.path.read_text()
    assert settings.merchant.mchid not in kept.path.name


def test_without_certificates_nothing_is_kept(new_simulator: NewSimulator) -> None:
    connection = new_simulator(key_mode="public-key").airflow_connection()
    assert kept_list(read_settings(connection["login"], "", connection["host"], connection["extra"])) is None
