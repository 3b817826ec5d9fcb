"""Exports a model: `python -m affwild_omg.export`."""

from affwild_omg import export

if __name__ == "__main__":
    export.main()
