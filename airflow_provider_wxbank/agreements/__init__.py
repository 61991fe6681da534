"""Agreement numbers become encrypted agreement files: read, check, cut, encrypt, store. Knows nothing of HTTP."""
