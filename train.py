"""Trains a network: `python -m affwild_omg.train`."""

from affwild_omg import train

if __name__ == "__main__":
    train.main()
