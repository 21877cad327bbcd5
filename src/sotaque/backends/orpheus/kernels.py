"""Loops over rows, which numba compiles: a step of generation, and what of a step of training is no product.

Products of a few rows with weights wait for the weights. So these lie in the order in which they are read,
once, and each vector of them serves eight or four rows, whose sums stay in registers. Weights in bfloat16
take the instruction that multiplies pairs of them (VDPBF16PS of AVX-512); in float32 any processor serves.

numpy knows no bfloat16: loops see its bits in uint16, which are the upper half of the float32 of that value.

All stands in one file, because numba looks at the file of a function alone to see whether it must be compiled
anew. N, B: rows; D, F: widths; H: heads of keys; G: queries of each; E: head size; W: columns of the past.
"""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16  # numbers of a vector
ROWS = 4  # products have a multiple of so many
ZERO, ONE, LOWEST = (
    np.float32(0),
    np.float32(1),
    np.float32(-87),
)  # numba would make float64 of a whole number
LN2_HIGH = np.float32(0.693359375)  # 9 bits
LN2_LOW = np.float32(math.log(2) - 0.693359375)
LEAST = np.float32(2**-64)  # share that counts: numbers below the least normal one are slow to compute with

# Sums may be taken in any order, as in every product of matrices; division by zero gives what IEEE 754 says,
# as a loop that might raise would not become vectors. What calls another has it inside: left as a call it
# might meet another copy in this process, just compiled or from numba's cache, which adds in another order.
_inside = functools.partial(numba.njit, cache=True, forceinline=True)
_compiled = _inside(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def array(x: torch.Tensor) -> np.ndarray:
    """The same memory as loops see it."""
    return (x.view(torch.uint16) if x.dtype is torch.bfloat16 else x).numpy()


@_compiled
def step(x, made, out, gate_up, down, norms, eps, scale, turns, past, rows, starts, end):
    """x (B and what fills it up, D), in place."""
    states, factors = np.empty(x.shape, past.dtype), np.empty(len(x), np.float32)
    gated = np.empty((len(x), gate_up.shape[1] * LANES // 2), past.dtype)
    for layer in range(len(past)):
        normed(x, norms[2 * layer], eps, states, factors)
        news = product(states, made[layer])
        _add(x, product(_heard(news, scale, turns, past[layer], rows, starts, end), out[layer]))
        normed(x, norms[2 * layer + 1], eps, states, factors)
        gate(product(states, gate_up[layer]), gated)
        _add(x, product(gated, down[layer]))
    normed(x, norms[-1], eps, x, factors)


@_compiled
def _add(x, more):
    for row in range(len(x)):
        for i in range(x.shape[1]):
            x[row, i] += more[row, i]


@_compiled
def normed(x, weight, eps, into, factors):
    """RMSNorm (Zhang and Sennrich, 2019) of x (N, D); factors (N,): 1 / sqrt(mean(x^2) + eps)."""
    for row in range(len(x)):
        squares = np.float32(0)
        for i in range(x.shape[1]):
            squares += _wide(x[row, i]) * _wide(x[row, i])
        factors[row] = 1 / np.sqrt(squares / x.shape[1] + eps)
        for i in range(x.shape[1]):
            into[row, i] = _narrow(_wide(x[row, i]) * factors[row] * _wide(weight[i]), into[row, i])


@_compiled
def normed_slope(beside, slope, x, weight, factors, into):
    """The gradient by x, of that by the outputs, added to what is `beside` it. With n = x / rms and g the
    gradient by n, it is (g - n mean(g n)) / rms."""
    for row in range(len(x)):
        factor, along = factors[row], np.float32(0)
        for i in range(x.shape[1]):
            along += _wide(slope[row, i]) * _wide(weight[i]) * _wide(x[row, i])
        share = factors.dtype.type(along * factor * factor / x.shape[1])
        for i in range(x.shape[1]):
            straight = _wide(slope[row, i]) * _wide(weight[i])
            into[row, i] = _narrow(
                _wide(beside[row, i]) + (straight - _wide(x[row, i]) * share) * factor, into[row, i]
            )


@_compiled
def gate(gates, into):
    """SiLU of the left half of gates (N, 2 F) times the right half, to (N, F)."""
    width = gates.shape[1] // 2
    for row in range(len(gates)):
        for i in range(width):
            x, up = _wide(gates[row, i]), _wide(gates[row, width + i])
            into[row, i] = _narrow(x / (ONE + exp(-x)) * up, into[row, i])


@_compiled
def gate_slope(slope, gates, into):
    """The gradient by gates, of that by what they let through."""
    width = gates.shape[1] // 2
    for row in range(len(gates)):
        for i in range(width):
            x, up, one = _wide(gates[row, i]), _wide(gates[row, width + i]), _wide(slope[row, i])
            open_ = ONE / (ONE + exp(-x))
            into[row, i] = _narrow(one * up * open_ * (ONE + x * (ONE - open_)), into[row, i])
            into[row, width + i] = _narrow(one * x * open_, into[row, i])


@_compiled
def turned(made, cos, sin, queries, keys):
    """Rotary positions (Su et al., 2021), which turn the halves of each head of made (N, H G + 2 H, E) by its
    position's cos and sin (N, E / 2), of queries (H, N G, E) and of keys (H, N, E)."""
    group = queries.shape[1] // keys.shape[1]
    for row in range(len(made)):
        for head in range(len(keys)):
            for one in range(group):
                _turned_halves(
                    made[row, head * group + one], cos[row], sin[row], queries[head, row * group + one]
                )
            _turned_halves(made[row, len(keys) * group + head], cos[row], sin[row], keys[head, row])


@_compiled
def turned_slope(by_queries, by_keys, by_values, cos, sin, into):
    """The gradient by what was made, (N, H G + 2 H, E), of those by what was turned, and by values."""
    heads, group, back = len(by_keys), by_queries.shape[1] // by_keys.shape[1], -sin
    for row in range(len(into)):
        for head in range(heads):
            for one in range(group):
                _turned_halves(
                    by_queries[head, row * group + one], cos[row], back[row], into[row, head * group + one]
                )
            _turned_halves(by_keys[head, row], cos[row], back[row], into[row, heads * group + head])
            for e in range(into.shape[2]):
                place = heads * (group + 1) + head
                into[row, place, e] = by_values[head, row, e]


@_compiled
def _turned_halves(x, cos, sin, into):
    half = len(cos)
    for i in range(half):
        a, b = _wide(x[i]), _wide(x[half + i])
        into[i] = _narrow(a * cos[i] - b * sin[i], into[i])
        into[half + i] = _narrow(b * cos[i] + a * sin[i], into[i])


@_compiled
def shares(scores, scale, group, into):
    """Softmax of scaled scores (H, T G, T), where each of T positions has so many queries, which hear it and
    what stands before. The scores are lost."""
    scale = scores.dtype.type(scale)
    for head in range(len(scores)):
        for row in range(scores.shape[1]):
            end = row // group + 1
            heard, narrowed = scores[head, row, :end], into[head, row]
            share = ONE / _powers(heard, scale)
            for i in range(end):
                one = heard[i] * share
                narrowed[i] = _narrow(ZERO if one < LEAST else one, narrowed[i])
            narrowed[end:] = 0


@_compiled
def shares_slope(slope, shares, scale, group, into):
    """The gradient by scores of that by shares: with P the shares and G their gradient, P (G - sum P G).

    Rounded shares do not add up to 1, so the sum is divided by theirs.
    """
    scale = slope.dtype.type(scale)
    for head in range(len(shares)):
        for row in range(shares.shape[1]):
            end = row // group + 1
            share, by_share, narrowed = shares[head, row], slope[head, row], into[head, row]
            total = along = slope.dtype.type(0)
            for i in range(end):
                total += _wide(share[i])
                along += _wide(share[i]) * by_share[i]
            along /= total
            for i in range(end):
                narrowed[i] = _narrow(_wide(share[i]) * (by_share[i] - along) * scale, narrowed[i])
            narrowed[end:] = 0


@_compiled
def _heard(news, scale, turns, past, rows, starts, end):
    """Attention (B filled up, H G E) of news, which are queries, keys and values (B filled up, H G + 2 H of
    size E); those of keys and values become the last of past (all rows, 2 H, W, E)."""
    heads, size = past.shape[1] // 2, past.shape[3]
    group = news.shape[1] // size // heads - 2
    queries = group * heads
    heard = np.zeros((len(news), queries * size), past.dtype)
    query, shares = np.empty((group, size), np.float32), np.empty((group, end), np.float32)
    for row in range(len(rows)):
        new, into = news[row].reshape(-1, size), heard[row].reshape(-1, size)
        start, kept = starts[rows[row]], past[rows[row]]
        turn = turns[end - 1 - start]
        for head in range(heads):
            for one in range(group):
                _turned_pairs(new[head * group + one], turn, scale, query[one])
            keys, values = kept[head, :end], kept[heads + head, :end]
            _turned_pairs(new[queries + head], turn, np.float32(1), keys[end - 1])
            for e in range(size):
                values[end - 1, e] = _narrow(new[queries + heads + head, e], values[end - 1, e])
            _score(query, keys, start, shares)
            for one in range(group):
                _softmax(shares[one, start:])
            _mix(shares, values, start, into[head * group : (head + 1) * group])
    return heard


@_compiled
def _turned_pairs(x, turn, scale, into):
    """Rotary positions (Su et al., 2021), of numbers that stand side by side in pairs."""
    for pair in range(len(turn)):
        turned = complex(x[2 * pair], x[2 * pair + 1]) * turn[pair] * scale
        into[2 * pair] = _narrow(turned.real, into[2 * pair])
        into[2 * pair + 1] = _narrow(turned.imag, into[2 * pair + 1])


@_compiled
def _score(query, keys, start, scores):
    for column in range(start, len(keys)):
        for one in range(len(query)):
            total = np.float32(0)
            for e in range(query.shape[1]):
                total += query[one, e] * _wide(keys[column, e])
            scores[one, column] = total


@_compiled
def _softmax(x):
    share = ONE / _powers(x, ONE)
    for i in range(len(x)):
        x[i] *= share


@_compiled
def _powers(x, scale):
    """e^(scale x), over that of the highest, in place; their sum."""
    highest, total = _highest(x), x.dtype.type(0)
    for i in range(len(x)):
        x[i] = exp((x[i] - highest) * scale)
        total += x[i]
    return total


@_compiled
def _highest(x):
    highest = x[0]
    for i in range(1, len(x)):
        highest = _higher(x[i], highest)
    return highest


@_compiled
def _mix(shares, values, start, into):
    """Values, each by its share."""
    total = np.zeros(into.shape, np.float32)
    fours = start + (len(values) - start) // 4 * 4
    for column in range(start, fours, 4):  # four at once: sums are read and written a quarter as often
        for one in range(len(shares)):
            a, b, c, d = shares[one, column : column + 4]
            for e in range(values.shape[1]):
                total[one, e] += (
                    a * _wide(values[column, e])
                    + b * _wide(values[column + 1, e])
                    + c * _wide(values[column + 2, e])
                    + d * _wide(values[column + 3, e])
                )
    for column in range(fours, len(values)):
        for one in range(len(shares)):
            for e in range(values.shape[1]):
                total[one, e] += shares[one, column] * _wide(values[column, e])
    for one in range(len(shares)):
        for e in range(values.shape[1]):
            into[one, e] = _narrow(total[one, e], into[one, e])


@_inside(fastmath={"contract"})
def exp(x):
    """e^x to a millionth, such that loops over it become vectors: 2^n times Taylor's series of the rest,
    which is at most ln(2) / 2."""
    x = LOWEST if x < LOWEST else -LOWEST if x > -LOWEST else x  # what is no number stays none
    n = np.floor(x * np.float32(1 / math.log(2)) + np.float32(0.5))
    # ln(2) in two parts (Cody and Waite): n times the first is exact, also on a processor without FMA.
    rest = (x - n * LN2_HIGH) - n * LN2_LOW
    series = np.float32(1 / 720)
    for factorial in (120, 24, 6, 2, 1, 1):
        series = series * rest + np.float32(1 / factorial)
    exponent = np.uint16((np.int32(n) + 127) << 7)  # the bits of 2^n as a bfloat16
    return series * _wide(exponent)


@_inside()
def product(x, weights):
    """x (rows, K) with packed weights -> (rows, outputs) float32; rows: a multiple of ROWS."""
    made = np.empty((len(x), len(weights) * LANES), np.float32)
    for block in range(len(weights)):
        row = 0
        while row + 8 <= len(x):
            _eight(x, weights, made, row, block)
            row += 8
        if row < len(x):
            _four(x, weights, made, row, block)
    return made


def _tile(rows: int):
    @intrinsic
    def tile(_context, x, weights, made, row, block):
        """made[row : row + rows, block * LANES : (block + 1) * LANES]."""
        in_pairs = x.dtype == types.uint16

        def build(context, builder, signature, arguments):
            word, real, place = ir.IntType(32), ir.FloatType(), arguments[3].type
            vector = ir.VectorType(real, LANES)
            one = word if in_pairs else real  # what of a row is multiplied with a vector of weights
            weight = ir.VectorType(_BFloat(), 2 * LANES) if in_pairs else vector
            name = "llvm.x86.avx512bf16.dpbf16ps.512" if in_pairs else f"llvm.fma.v{LANES}f32"
            multiply = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector, weight, weight] if in_pairs else [vector] * 3),
                name,
            )
            inputs, packed_, outputs = (
                context.make_array(type_)(context, builder, value)
                for type_, value in zip(signature.args[:3], arguments[:3], strict=True)
            )

            def times(a, b):
                return builder.mul(a, b if isinstance(b, ir.Value) else ir.Constant(place, b))

            steps = cgutils.unpack_tuple(builder, inputs.shape)[1]
            steps = builder.udiv(steps, ir.Constant(place, 2)) if in_pairs else steps
            width = cgutils.unpack_tuple(builder, outputs.shape)[1]
            numbers = [builder.add(arguments[3], ir.Constant(place, row)) for row in range(rows)]
            first = builder.bitcast(inputs.data, one.as_pointer())
            starts = [builder.gep(first, [times(number, steps)]) for number in numbers]
            tiles = builder.bitcast(packed_.data, weight.as_pointer())
            tiles = builder.gep(tiles, [times(arguments[4], steps)])
            zero = ir.Constant(vector, [0.0] * LANES)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(rows)]
            for sum_ in sums:  # the place is made once, where the function begins
                builder.store(zero, sum_)
            with cgutils.for_range(builder, steps, intp=place) as loop:
                of_all = builder.load(builder.gep(tiles, [loop.index]), align=2)
                for sum_, start in zip(sums, starts, strict=True):
                    single = builder.load(builder.gep(start, [loop.index]), align=2)
                    spread = builder.bitcast(_repeated(builder, single), weight)
                    terms = [builder.load(sum_), spread, of_all]
                    builder.store(builder.call(multiply, terms if in_pairs else [*terms[1:], terms[0]]), sum_)
            for sum_, number in zip(sums, numbers, strict=True):
                at = builder.add(times(number, width), times(arguments[4], LANES))
                target = builder.bitcast(builder.gep(outputs.data, [at]), vector.as_pointer())
                builder.store(builder.load(sum_), target, align=4)
            return context.get_dummy_value()

        return types.void(x, weights, made, types.intp, types.intp), build

    return tile


def _repeated(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """A vector of LANES times x."""
    nothing = ir.Constant(ir.VectorType(x.type, LANES), ir.Undefined)
    first = builder.insert_element(nothing, x, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


@intrinsic
def _wide(_context, x):
    """The bits of a bfloat16 -> float32; a float32 -> itself."""

    def build(_context, builder, _signature, arguments):
        if x != types.uint16:
            return arguments[0]
        bits = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, ir.Constant(bits.type, 16)), ir.FloatType())

    return (types.float32 if x == types.uint16 else x)(x), build


@intrinsic
def _narrow(_context, x, like):
    """A number -> what `like` is. To bfloat16 the nearest, and of two that are as near the even one."""

    def build(context, builder, _signature, arguments):
        if like != types.uint16:
            return context.cast(builder, arguments[0], x, like)
        word, half = ir.IntType(32), ir.IntType(16)
        bits = builder.bitcast(context.cast(builder, arguments[0], x, types.float32), word)
        odd = builder.and_(builder.lshr(bits, ir.Constant(word, 16)), ir.Constant(word, 1))
        rounded = builder.add(bits, builder.add(odd, ir.Constant(word, 0x7FFF)))
        return builder.trunc(builder.lshr(rounded, ir.Constant(word, 16)), half)

    return like(x, like), build


@intrinsic
def _higher(_context, x, y):
    """Of two numbers the higher; none if one is none. Loops over Python's max become no vectors."""

    def build(_context, builder, signature, arguments):
        real = arguments[0].type
        name = "llvm.maximum." + ("f32" if x == types.float32 else "f64")
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real, real]), name)
        return builder.call(function, arguments)

    return x(x, y), build


_eight, _four = _tile(8), _tile(4)
