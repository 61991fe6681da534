# SPDX-License-Identifier: Apache-2.0
"""Keys, signatures and what they protect."""
