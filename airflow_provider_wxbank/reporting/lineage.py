# SPDX-License-Identifier: Apache-2.0
"""Where OpenLineage's provider asks for a task's lineage. Nothing of OpenLineage is imported before it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_wxbank.reporting.events import Event, Exported, FileUploaded, Finished, ReceiptWritten

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


NAMESPACE = "wxbank://api.mch.weixin.qq.com"
"""Namespace of number packages in OpenLineage. In it they are named by their id."""


@dataclass(slots=True)
class Done:
    """The observer that remembers what a task has done so far, until OpenLineage asks."""

    exported: Exported | None = None
    uploaded: FileUploaded | None = None
    finished: Finished | None = None
    receipt: ReceiptWritten | None = None

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Exported():
                self.exported = event
            case FileUploaded():
                self.uploaded = event
            case Finished():
                self.finished = event
            case ReceiptWritten():
                self.receipt = event


class ReportsLineage:
    """An operator that tells OpenLineage what it reads and writes, and how much, as soon as that is known.

    Airflow's OpenLineage provider calls these methods by their names, once at each start, success or failure.
    """

    def lineage(self) -> OperatorLineage[Any, Any]:
        """Inputs, outputs and counts, as they are known now."""
        raise NotImplementedError

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Inputs and outputs."""
        return self.lineage()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Inputs, outputs and counts."""
        return self.lineage()

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Inputs, outputs, and the counts of what was done."""
        return self.lineage()
