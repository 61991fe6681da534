"""The page "WeChat Pay packages" of Airflow 3.1 and later."""
