"""A raw data set on this machine: scans and corrections of a server are added to it, to be learnt from."""
