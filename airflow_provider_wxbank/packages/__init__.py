# SPDX-License-Identifier: Apache-2.0
"""Number packages (号码包): their endpoints, uploading into them, and waiting for them. Imports nothing of Airflow."""
