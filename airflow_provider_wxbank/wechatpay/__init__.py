# SPDX-License-Identifier: Apache-2.0
"""The protocol: WeChat Pay APIv3. Imports nothing of Airflow."""
