# SPDX-License-Identifier: Apache-2.0
"""Apache Airflow provider that imports bank customers into WeChat Pay number packages (号码包)."""

__version__ = "1.0.0"
