"""What Airflow makes of templated parameters, read as what the user meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_wxbank.wechatpay.errors import InvalidInput


def as_text(value: Any) -> Any:
    """An id or a name: where a DAG renders templates as native objects, ``"8473295"`` becomes a number.

    :return: the text; what is no whole number as it is.
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def check_single(value: object, name: str, instead: str) -> None:
    """:raises InvalidInput: it is a list, as the output of a mapped task is.

    :param instead: what to write for a list.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise InvalidInput(f"{name} is a list, and a task takes one: {instead} makes a task for each")


def check_list(value: Iterable[str] | None, name: str) -> None:
    """:raises InvalidInput: it is one text, as a template of a list renders to."""
    if isinstance(value, str):
        raise InvalidInput(
            f"{name} is a text, not a list. If it is a template, let the DAG have render_template_as_native_obj=True, "
            "or give the output of a task"
        )
