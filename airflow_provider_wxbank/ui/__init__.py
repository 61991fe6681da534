"""The page "WeChat Pay packages" of Airflow 3."""
