# SPDX-License-Identifier: Apache-2.0
"""The page "WeChat Pay packages" of Airflow 3.1 and later."""
