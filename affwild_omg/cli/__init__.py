"""Command lines: flags, errors in a line, progress and console text."""
