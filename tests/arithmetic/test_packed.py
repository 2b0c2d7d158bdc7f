"""Packed weights are the same weights, and their products the same integers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.packed import (
    PADDING,
    dense_packed,
    largest_weight,
    pack,
    row_words,
    store,
    stored,
    unpack,
)

PACKED_BITS = range(2, 8)
SHAPES = ((1, 1), (3, 5), (8, 8), (13, 63), (16, 192), (33, 130), (9, 1000), (20, 3072))


def _weight(rng: np.random.Generator, bits: int, shape: tuple[int, int]) -> np.ndarray:
    limit = largest_weight(bits)
    return rng.integers(-limit, limit + 1, shape).astype(np.int8)


def _documented(row: list[int], bits: int) -> list[int]:
    """Words of a row as docs/file-format.md says, one bit after the other."""
    words = []
    for plane, low in ((bits, 0),) if bits <= 5 else ((4, 0), (bits - 4, 4)):
        fields = 16 // plane
        count = -(-len(row) // fields)
        count += -count % 8
        filled = [0] * count
        for k, weight in enumerate(row):
            code = weight + 2 ** (bits - 1)
            for bit in range(plane):
                if code >> (low + bit) & 1:
                    filled[k % count] |= 1 << (plane * (k // count) + bit)
        words += filled
    return words


@pytest.mark.parametrize("bits", PACKED_BITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_words_are_as_documented_and_unpack_to_the_weights(
    bits: int, shape: tuple[int, int]
) -> None:
    weight = _weight(np.random.default_rng(bits), bits, shape)
    packed = pack(weight, bits)
    assert packed.dtype == np.uint16
    assert packed.tolist() == [_documented(row, bits) for row in weight.tolist()]
    assert row_words(shape[1], bits) == packed.shape[1]
    assert np.array_equal(unpack(packed, shape[1], bits), weight)


def test_words_worked_out_by_hand() -> None:
    # ternary codes are w + 2, two bits each; words a plane: 9 inputs in fields of 8, so 8 words,
    # and input 8 is field 1 of word 0
    ternary = np.array([[-1, 0, 1, -1, 0, 1, -1, 0, 1]], np.int8)
    assert pack(ternary, 2).tolist() == [[1 | 3 << 2, 2, 3, 1, 2, 3, 1, 2]]
    # 6 bits: -31 is code 1 = 00|0001, 31 is code 63 = 11|1111, 0 is code 32 = 10|0000
    six = np.array([[-31, 31, 0]], np.int8)
    assert pack(six, 6).tolist() == [[1, 15, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0]]


def test_padding_holds_all_operands_that_may_be_read_beyond_a_layer_s_own() -> None:
    """A plane's fields times its words, which are rounded up: 63 beyond one ternary weight."""
    beyond = [
        16 // plane * math.ceil(math.ceil(inputs / (16 // plane)) / 8) * 8 - inputs
        for plane in (2, 3, 4, 5)
        for inputs in range(1, 300)
    ]
    assert max(beyond) == 63 < PADDING


@pytest.mark.parametrize(("bits", "shared"), [(2, 1 / 4), (4, 1 / 2), (3, 2 / 5), (6, 3 / 4)])
def test_bytes_shrink_with_the_bits(bits: int, shared: float) -> None:
    weight = np.zeros((10, 3840), np.int8)
    assert pack(weight, bits).nbytes == shared * weight.nbytes


@pytest.mark.parametrize("bits", PACKED_BITS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [1, 3, 4, 9])
def test_products_equal_those_of_plain_weights(
    bits: int, shape: tuple[int, int], tokens: int
) -> None:
    rng = np.random.default_rng(bits * tokens)
    weight = _weight(rng, bits, shape)
    largest = min(32767, (1 << 31) // (largest_weight(bits) * shape[1]) - 1)
    x = np.zeros((tokens, shape[1] + PADDING), np.int16)
    x[:, : shape[1]] = rng.integers(-largest, largest + 1, (tokens, shape[1]))
    result = np.full((tokens, shape[0]), -1, np.int32)
    dense_packed(pack(weight, bits), bits, x, result)
    assert np.array_equal(result, x[:, : shape[1]].astype(np.int64) @ weight.T.astype(np.int64))


@pytest.mark.parametrize("bits", PACKED_BITS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_proven_bound_is_reached_exactly(bits: int, sign: int) -> None:
    """Codes and their offset pass 2**31 on the way; the sum that is kept does not.

    At 2 bits, 65,538 inputs: more words than fields may be added up unshifted.
    """
    inputs = (1 << 31) // (largest_weight(bits) * 32767)
    weight = np.full((9, inputs), sign * largest_weight(bits), np.int8)
    x = np.zeros((1, inputs + PADDING), np.int16)
    x[:, :inputs] = 32767
    result = np.empty((1, 9), np.int32)
    dense_packed(pack(weight, bits), bits, x, result)
    assert (result == sign * largest_weight(bits) * 32767 * inputs).all()


def test_a_layer_keeps_fewer_bits_packed_and_eight_as_they_are() -> None:
    weight = np.arange(-7, 8, dtype=np.int8).reshape(3, 5)
    assert store(weight, 8) is weight
    assert stored(weight) == (weight, 8)
    kept = store(weight, 4)
    words, bits = stored(kept)
    assert (words.dtype, bits) == (np.uint16, 4)
    np.testing.assert_array_equal(np.asarray(kept), weight)
