"""Four or eight numbers at a time in compiled kernels: vector instructions that numba has no words for."""

# Numba leaves it to LLVM to find vector instructions in loops, which it gives up where arrays might overlap. The
# functions here say them outright; they run on every processor, on which LLVM splits them as it must.

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, models, register_model

__all__ = [
    "EIGHT",
    "FOUR",
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

FOUR, EIGHT = (np.dtype([("lanes", np.float32, (count,))]) for count in (4, 8))
"""Items of arrays that `load` and `store` take; kernels are compiled for each of them."""

LOWEST = -60.0
"""exp below it is taken as 0: 9e-27 is nothing beside 1, and still smaller numbers make processors slow."""

_F32, _I32 = ir.FloatType(), ir.IntType(32)
_FUSE = ("contract",)  # a multiplication and an addition may be one instruction


class Lanes(types.Type):
    """Type of four or eight float32 values inside kernels."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Lanes({count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(_F32, kind.count))


def _lanes_of(array: Any) -> Lanes:
    return Lanes(array.dtype.size // 4)


def _constant(vector: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(vector, [float(np.float32(value))] * vector.count)


def _whole(vector: ir.VectorType, values: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, vector.count), values)


def _spread(builder, number, vector: ir.VectorType):
    """The same number in all lanes."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, number, _I32(0))
    return builder.shuffle_vector(first, nothing, _whole(vector, [0] * vector.count))


def _address(context, builder, kind, array, position):
    data = context.make_array(kind)(context, builder, array).data
    vector = context.get_value_type(_lanes_of(kind))
    return builder.bitcast(builder.gep(data, [position]), ir.PointerType(vector))


@intrinsic
def load(typing, array, position):
    """`array[position]` of a flat array of items; nothing checks the bounds."""

    def code(context, builder, signature, args):
        return builder.load(_address(context, builder, signature.args[0], *args), align=4)

    return _lanes_of(array)(array, types.int64), code


@intrinsic
def store(typing, array, position, values):
    """`array[position] = values`."""

    def code(context, builder, signature, args):
        builder.store(args[2], _address(context, builder, signature.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, values), code


@intrinsic
def add_scaled(typing, values, weight, others):
    """`values + weight * others`."""

    def code(context, builder, signature, args):
        product = builder.fmul(_spread(builder, args[1], args[2].type), args[2], flags=_FUSE)
        return builder.fadd(args[0], product, flags=_FUSE)

    return values(values, types.float32, others), code


@intrinsic
def scaled(typing, values, weight):
    """`weight * values`."""

    def code(context, builder, signature, args):
        return builder.fmul(args[0], _spread(builder, args[1], args[0].type))

    return values(values, types.float32), code


@intrinsic
def minus(typing, values, number):
    """`values - number`."""

    def code(context, builder, signature, args):
        return builder.fsub(args[0], _spread(builder, args[1], args[0].type))

    return values(values, types.float32), code


@intrinsic
def plus(typing, values, others):
    """`values + others`."""
    return values(values, others), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def greatest(typing, values, others):
    """The greater of both in each lane."""
    return values(values, others), lambda context, builder, signature, args: _greater(builder, *args)


def _greater(builder, one, other):
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _across(builder, values, combine):
    """One number out of all lanes, combined pairwise: of eight 0 with 4, 1 with 5, and so on."""
    count = half = values.type.count
    while half := half // 2:
        order = _whole(values.type, [(lane + half) % count for lane in range(count)])
        values = combine(builder, values, builder.shuffle_vector(values, values, order))
    return builder.extract_element(values, _I32(0))


@intrinsic
def largest(typing, values):
    """The largest of the numbers."""
    return types.float32(values), lambda context, builder, signature, args: _across(builder, args[0], _greater)


@intrinsic
def total(typing, values):
    """The sum of the numbers, always added in the same order."""

    def code(context, builder, signature, args):
        return _across(builder, args[0], lambda builder, one, other: builder.fadd(one, other))

    return types.float32(values), code


# exp(x) = 2^k exp(r) with r in [-ln(2)/2, ln(2)/2]; ln(2) in two parts, of which k times the first is exact
_LN2_HIGH, _LN2_LOW = 0.693359375, math.log(2) - 0.693359375
_TAYLOR = [1 / math.factorial(power) for power in range(8)]  # the first one left out is below 6e-9 of the sum


@intrinsic
def exponential(typing, values):
    """`exp(values)` of numbers <= 0, to 3e-7 of its value; 0 below -60."""

    def code(context, builder, signature, args):
        vector = args[0].type

        def times_plus(one, other, summand):
            return builder.fadd(builder.fmul(one, other, flags=_FUSE), summand, flags=_FUSE)

        lowest = _constant(vector, LOWEST)
        x = _greater(builder, args[0], lowest)
        name = f"llvm.rint.v{vector.count}f32"
        rint = get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
        k = builder.call(rint, [builder.fmul(x, _constant(vector, 1 / math.log(2)))])
        r = times_plus(k, _constant(vector, -_LN2_HIGH), x)
        r = times_plus(k, _constant(vector, -_LN2_LOW), r)
        series = _constant(vector, _TAYLOR[-1])
        for term in reversed(_TAYLOR[:-1]):
            series = times_plus(series, r, _constant(vector, term))
        exponent = builder.fptosi(k, ir.VectorType(_I32, vector.count))
        exponent = builder.add(exponent, _whole(vector, [127] * vector.count))
        power = builder.bitcast(builder.shl(exponent, _whole(vector, [23] * vector.count)), vector)
        is_high = builder.fcmp_ordered(">", args[0], lowest)
        return builder.select(is_high, builder.fmul(series, power), _constant(vector, 0))

    return values(values), code
