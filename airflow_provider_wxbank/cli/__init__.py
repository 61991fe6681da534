# SPDX-License-Identifier: Apache-2.0
"""The commands ``airflow wxbank`` and ``python -m airflow_provider_wxbank``."""
