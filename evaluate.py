"""Evaluates a model: `python -m affwild_omg.evaluate`."""

from affwild_omg import evaluate

if __name__ == "__main__":
    evaluate.main()
