# SPDX-License-Identifier: Apache-2.0
"""Agreement numbers become encrypted agreement files: read, check, cut, encrypt, store. Knows nothing of HTTP."""
