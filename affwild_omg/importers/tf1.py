"""Runs `affwild_omg.import_tf1`, which older instructions call by this name."""

import runpy

if __name__ == "__main__":
    runpy.run_module("affwild_omg.import_tf1", run_name="__main__")
