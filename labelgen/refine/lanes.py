"""Eight numbers at a time in compiled kernels: vector instructions that numba has no words for."""

# Numba leaves it to LLVM to find vector instructions in loops, which it gives up where arrays might overlap. The
# functions here say them outright; they run on every processor, on which LLVM splits them as it must.

import math

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, models, register_model

__all__ = [
    "LANES",
    "add_scaled",
    "exponential",
    "greatest",
    "largest",
    "load",
    "minus",
    "plus",
    "scaled",
    "store",
    "total",
]

LANES = 8

LOWEST = -60.0
"""exp below it is taken as 0: 9e-27 is nothing beside 1, and still smaller numbers make processors slow."""

_F32, _I32, _VECTOR = ir.FloatType(), ir.IntType(32), ir.VectorType(ir.FloatType(), LANES)
_WHOLE = ir.VectorType(_I32, LANES)
_FUSE = ("contract",)  # a multiplication and an addition may be one instruction


class Lanes(types.Type):
    """Type of eight float32 values inside kernels."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


lanes = Lanes()


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [float(np.float32(value))] * LANES)


def _spread(builder, number):
    """The same number in all lanes."""
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, _I32(0))
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_WHOLE, [0] * LANES))


def _address(context, builder, kind, array, position):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [position]), ir.PointerType(_VECTOR))


@intrinsic
def load(typing, array, position):
    """`array[position : position + 8]` of a flat float32 array; nothing checks the bounds."""

    def code(context, builder, signature, args):
        return builder.load(_address(context, builder, signature.args[0], *args), align=4)

    return lanes(array, types.int64), code


@intrinsic
def store(typing, array, position, values):
    """`array[position : position + 8] = values`."""

    def code(context, builder, signature, args):
        builder.store(args[2], _address(context, builder, signature.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes), code


@intrinsic
def add_scaled(typing, values, weight, others):
    """`values + weight * others`."""

    def code(context, builder, signature, args):
        product = builder.fmul(_spread(builder, args[1]), args[2], flags=_FUSE)
        return builder.fadd(args[0], product, flags=_FUSE)

    return lanes(lanes, types.float32, lanes), code


@intrinsic
def scaled(typing, values, weight):
    """`weight * values`."""
    return lanes(lanes, types.float32), lambda context, builder, signature, args: builder.fmul(
        args[0], _spread(builder, args[1])
    )


@intrinsic
def minus(typing, values, number):
    """`values - number`."""
    return lanes(lanes, types.float32), lambda context, builder, signature, args: builder.fsub(
        args[0], _spread(builder, args[1])
    )


@intrinsic
def plus(typing, values, others):
    """`values + others`."""
    return lanes(lanes, lanes), lambda context, builder, signature, args: builder.fadd(args[0], args[1])


@intrinsic
def greatest(typing, values, others):
    """The greater of both in each lane."""
    return lanes(lanes, lanes), lambda context, builder, signature, args: _greater(builder, *args)


def _greater(builder, one, other):
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _across(builder, values, combine):
    """One number out of all lanes, combined pairwise: 0 with 4, 1 with 5, and so on."""
    half = LANES // 2
    while half:
        order = [(lane + half) % LANES for lane in range(LANES)]
        moved = builder.shuffle_vector(values, values, ir.Constant(_WHOLE, order))
        values = combine(builder, values, moved)
        half //= 2
    return builder.extract_element(values, _I32(0))


@intrinsic
def largest(typing, values):
    """The largest of the eight numbers."""
    return types.float32(lanes), lambda context, builder, signature, args: _across(builder, args[0], _greater)


@intrinsic
def total(typing, values):
    """The sum of the eight numbers, always added in the same order."""
    return types.float32(lanes), lambda context, builder, signature, args: _across(
        builder, args[0], lambda b, one, other: b.fadd(one, other)
    )


# exp(x) = 2^k exp(r) with r in [-ln(2)/2, ln(2)/2]; ln(2) in two parts, so that r is exact
_LN2_HIGH, _LN2_LOW = 0.693359375, math.log(2) - 0.693359375
_TAYLOR = [1 / math.factorial(power) for power in range(8)]  # the first one left out is below 6e-9 of the sum


@intrinsic
def exponential(typing, values):
    """`exp(values)` of numbers <= 0, to 3e-7 of its value; 0 below -60."""

    def code(context, builder, signature, args):
        def times_plus(one, other, summand):
            return builder.fadd(builder.fmul(one, other, flags=_FUSE), summand, flags=_FUSE)

        lowest = _constant(LOWEST)
        x = _greater(builder, args[0], lowest)
        rint = get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.rint.v{LANES}f32")
        k = builder.call(rint, [builder.fmul(x, _constant(1 / math.log(2)))])
        r = times_plus(k, _constant(-_LN2_LOW), times_plus(k, _constant(-_LN2_HIGH), x))
        series = _constant(_TAYLOR[-1])
        for term in reversed(_TAYLOR[:-1]):
            series = times_plus(series, r, _constant(term))
        exponent = builder.add(builder.fptosi(k, _WHOLE), ir.Constant(_WHOLE, [127] * LANES))
        power = builder.bitcast(builder.shl(exponent, ir.Constant(_WHOLE, [23] * LANES)), _VECTOR)
        return builder.select(builder.fcmp_ordered(">", args[0], lowest), builder.fmul(series, power), _constant(0))

    return lanes(lanes), code
