"""Importers: weight files from elsewhere, as arrays that fit our networks."""
