"""The protocol: WeChat Pay APIv3 and its number packages. Imports nothing of Airflow."""
