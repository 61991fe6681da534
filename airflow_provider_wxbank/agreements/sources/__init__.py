# SPDX-License-Identifier: Apache-2.0
"""Where agreement numbers come from: a bank's databases and files. All of them are read as streams."""
