"""Numbers that follow from a seed and a position, the same as in benches/measure/hash.rs."""

import numpy as np


def mixed(seed, at):
    """A well mixed u64."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
        z = z + (np.asarray(at).astype(np.uint64) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def below(seed, at, end):
    """A number of 0..end."""
    return (mixed(seed, at) % np.uint64(end)).astype(np.int32)


def unit(seed, at):
    """A number from 0 up to 1."""
    return (mixed(seed, at) >> np.uint64(11)).astype(np.float64) * 2.0**-53
