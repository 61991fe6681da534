# SPDX-License-Identifier: Apache-2.0
"""What tests of agreements have: databases."""

from __future__ import annotations

from tests.harness.databases import duck, mariadb, mariadb_socket, postgres, sqlite  # noqa: F401  # fixtures
