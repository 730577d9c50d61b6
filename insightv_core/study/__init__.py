"""The study: does the method work here as the paper says? Every system on the same held-out questions, with intervals.

It trains what the systems need on a project's curated sets, lets each of them answer, and holds what comes of it
against the paper's claims (arXiv 2411.14432, tables 1 to 4, figures 4 and 6). Everything is kept in the project, so the
same command goes on where it was stopped and does nothing twice.
"""
