# SPDX-License-Identifier: Apache-2.0
"""What happens, told as events, and the observers that hear of them. Nothing waits for them or depends on them."""
