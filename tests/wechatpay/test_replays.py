# SPDX-License-Identifier: Apache-2.0
"""Somebody in between who records signed answers and brings them again within their five minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_wxbank.packages.endpoints import create_task, find_task, list_tasks, list_tasks_page
from airflow_provider_wxbank.packages.poll import poll
from airflow_provider_wxbank.packages.upload_once import upload_once
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.verification import Nonces
from airflow_provider_wxbank.wechatpay.errors import OutcomeUnknown, Replayed, UnverifiedAnswer
from airflow_provider_wxbank.wechatpay.flows import run
from airflow_provider_wxbank.wechatpay.retries import MAX_ATTEMPTS
from tests.conftest import PACKAGE, NewClient, NewSimulator, numbers
from tests.harness.drivers import BOTH_DRIVERS
from tests.harness.files import agreement_file, outgoing_file

pytestmark = BOTH_DRIVERS

OTHER = "9990001"
Answer = tuple[int, list[tuple[str, str]], bytes]


class Between:
    """A proxy in front of a simulator, which keeps every answer, and may give one in the place of the next.

    :ivar answers: question and answer, in their order.
    :ivar choose: the answer to give to a question, such as ``GET /v3/certificates``; None to ask the simulator.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.answers: list[tuple[str, Answer]] = []
        self.choose: Callable[[str], Answer | None] = lambda question: None
        self.given = 0
        self._target = simulator.base_url.removeprefix("http://")
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = between.answer(self.command, self.path, dict(self.headers), content)
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815  # its base class calls it so

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, method: str, path: str, headers: dict[str, str], content: bytes) -> Answer:
        question = f"{method} {path}"
        chosen = self.choose(question)
        if chosen is not None:
            self.given += 1
            return chosen
        connection = HTTPConnection(self._target, timeout=30)
        connection.request(method, path, content, {**headers, "Host": self._target})
        answer = connection.getresponse()
        received = answer.status, answer.getheaders(), answer.read()
        connection.close()
        self.answers.append((question, received))
        return received

    def last(self, text: str) -> Answer:
        """The last answer to a question with some text in it."""
        return next(answer for question, answer in reversed(self.answers) if text in question)


@contextmanager
def in_between(simulator: Simulator) -> Iterator[Between]:
    """A proxy in front of a simulator."""
    proxy = Between(simulator)
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        thread.join()
        proxy.server.server_close()


@pytest.fixture
def between(simulator: Simulator) -> Iterator[Between]:
    with in_between(simulator) as proxy:
        yield proxy


@pytest.fixture
def client(simulator: Simulator, new_client: NewClient, between: Between) -> Client:
    return new_client(simulator, {"host": between.url})


@pytest.fixture
def new_process(simulator: Simulator, new_client: NewClient, between: Between) -> Callable[[], Client]:
    """Makes clients that remember no answer, as that of a process which has just started."""

    def make() -> Client:
        made = new_client(simulator, {"host": between.url}, believed=Nonces())
        made.refresh_keys()
        return made

    return make


def test_an_answer_is_believed_once_whichever_client_meets_it_again(
    simulator: Simulator, new_client: NewClient, between: Between, client: Client
) -> None:
    create_task(client, PACKAGE, *agreement_file(client, 0))
    list_tasks_page(client, PACKAGE)
    recorded = between.last("limit=20")
    other = new_client(simulator, {"host": between.url})
    other.refresh_keys()
    between.choose = lambda question: recorded
    for asking in (client, other):
        with pytest.raises(Replayed, match="the answer was given before"):
            list_tasks_page(asking, PACKAGE)
    assert between.given == 2 * MAX_ATTEMPTS
    between.choose = lambda question: None
    assert list_tasks_page(other, PACKAGE).total_count == 1


def test_an_empty_page_of_another_package_says_nothing_of_this_one(between: Between, client: Client) -> None:
    create_task(client, PACKAGE, *agreement_file(client, 0))
    assert list_tasks_page(client, OTHER).tasks == ()
    recorded = between.last(OTHER)
    between.choose = lambda question: recorded if PACKAGE in question else None
    with pytest.raises(Replayed):
        list_tasks_page(client, PACKAGE)


def test_one_answer_that_is_brought_again_is_asked_for_once_more(between: Between, client: Client) -> None:
    create_task(client, PACKAGE, *agreement_file(client, 0))
    list_tasks_page(client, OTHER)
    recorded = between.last(OTHER)
    between.choose = lambda question: recorded if between.given < 1 else None
    assert list_tasks_page(client, PACKAGE).total_count == 1


def test_certificates_that_are_brought_again_are_not_believed_again(
    between: Between, client: Client, simulator: Simulator
) -> None:
    """Else somebody could keep a key in use that WeChat Pay has just replaced."""
    client.refresh_keys()
    recorded = between.last("/v3/certificates")
    new_serial = simulator.rotate_certificate()
    between.choose = lambda question: recorded if between.given < MAX_ATTEMPTS else None
    with pytest.raises(Replayed):
        client.refresh_keys()
    client.refresh_keys()
    assert client.encryption_key().serial_no == new_serial


def test_an_upload_that_is_answered_with_the_last_one_is_settled_by_its_filename(
    simulator: Simulator, between: Between, client: Client
) -> None:
    create_task(client, PACKAGE, *agreement_file(client, 0))
    recorded = between.last("POST")
    between.choose = lambda question: recorded if "POST" in question and between.given < 1 else None
    uploaded = upload_once(client, PACKAGE, outgoing_file(client, 1), lambda _: None)
    assert not uploaded.adopted
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest([*numbers(2), *numbers(2, 10_000)])
    assert package["lines"] == 4


def test_a_wait_for_a_whole_package_is_not_ended_by_answers_of_an_earlier_moment(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    """Before the second file came, nothing was processing, and the one file there was finished."""
    now = [1_800_000_000.0]
    simulator = new_simulator(processing_seconds=100.0, clock=lambda: now[0])
    with in_between(simulator) as between:
        client = new_client(simulator, {"host": between.url}, clock=lambda: now[0])
        create_task(client, PACKAGE, *agreement_file(client, 0))
        now[0] += 100
        assert run(poll(client, wanted(PACKAGE))).tasks is not None
        processing, whole = between.last("status=PROCESSING"), between.last("tasks?offset=0&limit=20")
        create_task(client, PACKAGE, *agreement_file(client, 1))
        between.choose = lambda question: processing if "PROCESSING" in question else whole
        with pytest.raises(Replayed):
            run(poll(client, wanted(PACKAGE)))
        between.choose = lambda question: None
        assert run(poll(client, wanted(PACKAGE))).tasks is None


@pytest.mark.parametrize(
    ("recorded", "ask"),
    [
        ("filename=file_00000.csv", lambda client: list(list_tasks(client, PACKAGE))),
        ("filename=file_00000.csv", lambda client: run(poll(client, wanted(PACKAGE)))),
        ("filename=file_00000.csv", lambda client: find_task(client, PACKAGE, "file_00001.csv")),
        ("filename=file_00000.csv", lambda client: find_task(client, OTHER, "file_00000.csv")),
        ("filename=nowhere.csv", lambda client: list_tasks_page(client, PACKAGE)),
        ("filename=nowhere.csv", lambda client: list_tasks_page(client, PACKAGE, offset=1, limit=1)),
        ("tasks?offset=0&limit=20", lambda client: list_tasks_page(client, OTHER)),
        ("tasks?offset=0&limit=20", lambda client: list_tasks_page(client, PACKAGE, "PROCESSING")),
        ("tasks?offset=0&limit=20", lambda client: find_task(client, PACKAGE, "file_00001.csv")),
        ("tasks?offset=0&limit=20", lambda client: list_tasks_page(client, PACKAGE, limit=1)),
        ("tasks?offset=9&limit=20", lambda client: list_tasks_page(client, PACKAGE)),
        ("/v3/certificates", lambda client: list_tasks_page(client, PACKAGE)),
        ("POST", lambda client: find_task(client, PACKAGE, "file_00001.csv")),
    ],
)  # fmt: skip
def test_a_process_that_has_just_started_sees_that_a_page_answers_another_question(
    between: Between, client: Client, new_process: Callable[[], Client], recorded: str, ask: Callable[[Client], Any]
) -> None:
    """It remembers no answer, but an answer says what was asked."""
    for index in range(2):
        create_task(client, PACKAGE, *agreement_file(client, index))
    find_task(client, PACKAGE, "file_00000.csv")
    assert find_task(client, PACKAGE, "nowhere.csv") is None
    list_tasks_page(client, PACKAGE)
    list_tasks_page(client, PACKAGE, offset=9)
    answer = between.last(recorded)
    fresh = new_process()
    between.choose = lambda question: answer
    with pytest.raises(UnverifiedAnswer) as raised:
        ask(fresh)
    assert not isinstance(raised.value, Replayed)


def test_a_process_that_has_just_started_does_not_take_another_answer_for_that_to_its_upload(
    between: Between, client: Client, new_process: Callable[[], Client]
) -> None:
    create_task(client, PACKAGE, *agreement_file(client, 0))
    find_task(client, PACKAGE, "file_00000.csv")
    for recorded in ("POST", "filename="):
        fresh = new_process()
        file = agreement_file(fresh, 1)
        answer = between.last(recorded)
        between.choose = lambda question, answer=answer: answer if "POST" in question else None  # type: ignore[misc]
        with pytest.raises(OutcomeUnknown, match="another file|not an upload task"):
            create_task(fresh, PACKAGE, *file)
        between.choose = lambda question: None
