# SPDX-License-Identifier: Apache-2.0
"""Test vectors made with openssl and node:crypto, keys thrown away; see the files' own ``about``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHANGMI: dict[str, Any] = json.loads(Path(__file__).with_name("shangmi.json").read_text("utf-8"))
"""The same in SM2, SM3 and SM4."""

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
