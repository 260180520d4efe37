"""The commands, a module each or for a few that belong together; :mod:`exdiff_cli.cli` puts them on one line.

They import what loads torch, which takes seconds, when they run: not for `--help`, nor for commands that need no model.
"""
