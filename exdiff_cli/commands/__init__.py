"""The commands, a module each or for a few that belong together; :mod:`exdiff_cli.cli` puts them on one line."""
