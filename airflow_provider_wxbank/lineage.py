"""Where a task's lineage is asked for. Nothing of OpenLineage is imported before its provider asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class ReportsLineage:
    """An operator that tells OpenLineage what it reads and writes, and how much as soon as that is known.

    Airflow's OpenLineage provider looks for these methods by their names, once a start, a success or a failure.
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
