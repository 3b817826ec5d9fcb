"""Corpora: readers of the annotations and clips of one data set a file."""
