# SPDX-License-Identifier: Apache-2.0
"""What a wait is given of uploads: the results of :class:`.UploadTaskOperator`, and the tasks that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from airflow_provider_wxbank.packages.poll import MAX_BY_NAME
from airflow_provider_wxbank.packages.wanted import Wanted, wanted
from airflow_provider_wxbank.parameters import WHY_NONE, list_of_texts, text
from airflow_provider_wxbank.wechatpay.errors import InvalidInput


def results_of(given: object) -> list[Mapping[str, Any]]:
    """The results in what a sensor was given, which is one or a list of them.

    :raises InvalidInput: it is neither.
    """
    if not isinstance(given, (str, Iterable)):
        raise InvalidInput(f"upload is of type {type(given).__name__}, not a result of UploadTaskOperator")
    if isinstance(given, str):
        # A text that is empty or says None has a better reason than the one below.
        text(given, "upload")
        raise InvalidInput(
            "upload is a text, not a result of UploadTaskOperator. If it is a template, let the DAG have "
            "render_template_as_native_obj=True, or give the output of a task"
        )
    # Results of mapped tasks come as a lazy sequence.
    results = [given] if isinstance(given, Mapping) else list(given)
    if not results:
        raise InvalidInput("upload is an empty list: the tasks that it comes from were mapped over nothing")
    if any(result is None for result in results):
        raise InvalidInput(f"upload has None among its {len(results)} results: {WHY_NONE}")
    return results


def wanted_of(results: Sequence[Mapping[str, Any]]) -> Wanted:
    """The tasks of uploads.

    :raises InvalidInput: something is no result, or they are of several packages, or one upload is there twice.
    """
    try:
        package_ids = {result["package_id"] for result in results}
        task_ids = [
            tuple(list_of_texts([task["task_id"] for task in result["tasks"]], "upload's task_ids"))
            for result in results
        ]
        filenames = [task.get("filename") for result in results for task in result["tasks"]]
    except (KeyError, TypeError, AttributeError):
        raise InvalidInput("upload must be a result of UploadTaskOperator, or a list of them") from None
    if len(package_ids) != 1:
        raise InvalidInput(
            f"upload names {len(package_ids)} packages ({', '.join(sorted(map(str, package_ids)))}); one sensor "
            "waits for one package"
        )
    if len(set(task_ids)) < len(task_ids):
        raise InvalidInput(
            f"upload has {len(task_ids)} results, of which only {len(set(task_ids))} differ: one manifest or file "
            "was uploaded more than once. If exports wrote into one folder, the last manifest has replaced the "
            "others, whose numbers were not uploaded: give each export an output_path of its own, for example with "
            "{{ ti.map_index }} in it, and run export and upload again"
        )
    if 0 < len(filenames) <= MAX_BY_NAME and all(isinstance(name, str) for name in filenames):
        # So few are asked for by name, whatever else the package has.
        return wanted(package_ids.pop(), filenames=filenames)
    return wanted(package_ids.pop(), chain.from_iterable(task_ids))
