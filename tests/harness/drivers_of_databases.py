# SPDX-License-Identifier: Apache-2.0
"""Drivers for tests that come from the system: they are not on the package index."""

from __future__ import annotations

import ctypes.util
import shutil
from pathlib import Path

import pytest


def _odbc(name: str) -> Path:
    """An ODBC driver, in the folder of Debian's for any processor."""
    return next(Path("/usr/lib").glob(f"*/odbc/{name}"), Path(name))


ODBC_SQLITE = _odbc("libsqlite3odbc.so")
ODBC_MARIADB = _odbc("libmaodbc.so")
HSQLDB = Path("/usr/share/java/hsqldb.jar")
HSQLDB_CLASS = "org.hsqldb.jdbc.JDBCDriver"

_HAS_UNIXODBC = ctypes.util.find_library("odbc") is not None

NEEDS_ODBC_SQLITE = pytest.mark.skipif(
    not (_HAS_UNIXODBC and ODBC_SQLITE.is_file()),
    reason="there is no ODBC driver for SQLite here: apt-get install unixodbc libsqliteodbc",
)
NEEDS_ODBC_MARIADB = pytest.mark.skipif(
    not (_HAS_UNIXODBC and ODBC_MARIADB.is_file()),
    reason="there is no ODBC driver for MariaDB here: apt-get install unixodbc odbc-mariadb",
)
NEEDS_HSQLDB = pytest.mark.skipif(
    shutil.which("java") is None or not HSQLDB.is_file(),
    reason="there is no HSQLDB here: apt-get install default-jre-headless libhsqldb-java",
)

OF_JAYDEBEAPI = ("ignore:.*invalid escape sequence", "ignore:.*is deprecated:DeprecationWarning:jaydebeapi")
"""Warnings of its own: it is of 2020."""
