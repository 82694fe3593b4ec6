"""Campaigns that try to break the package: long runs by command, short ones in the test suite."""
