"""The commands ``airflow wxbank`` and ``python -m airflow_provider_wxbank``."""
