# SPDX-License-Identifier: Apache-2.0
"""Signers whose key never leaves its place; which one it is, the scheme of ``merchant_private_key_uri`` says."""
