"""Harness: Ricefish run as others run it, in processes and under load: for the demo, the benchmarks and the tests.

It is installed nowhere: all three are run from the repository.
"""
