"""The application: data, training, evaluation, studies and the command line.

It imports the library (`flowkernels.flows`, `flowkernels.bases`, ...); nothing of the library
imports it.
"""
