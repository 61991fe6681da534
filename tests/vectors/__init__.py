# SPDX-License-Identifier: Apache-2.0
"""Test vectors made with openssl and node:crypto, keys thrown away; see the file's own ``about``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
