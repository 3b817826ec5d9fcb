"""The paper: its networks and its tables as data."""
