"""Floor 2: functional ops by family; forward, infer and backward rules side by side."""

from jitgrad.ops import _methods as _methods
from jitgrad.ops.activation import relu as relu, sigmoid as sigmoid
from jitgrad.ops.convert import clone as clone
from jitgrad.ops.create import (
    arange as arange,
    empty as empty,
    full as full,
    ones as ones,
    ones_like as ones_like,
    zeros as zeros,
    zeros_like as zeros_like,
)
from jitgrad.ops.elementary import (
    abs as abs,
    ceil as ceil,
    clamp as clamp,
    cos as cos,
    erf as erf,
    expm1 as expm1,
    floor as floor,
    isfinite as isfinite,
    isinf as isinf,
    isnan as isnan,
    log1p as log1p,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    maximum as maximum,
    minimum as minimum,
    reciprocal as reciprocal,
    round as round,
    rsqrt as rsqrt,
    sign as sign,
    sin as sin,
    square as square,
)
from jitgrad.ops.index import nonzero as nonzero
from jitgrad.ops.join import cat as cat, stack as stack
from jitgrad.ops.matmul import matmul as matmul
from jitgrad.ops.pointwise import (
    add as add,
    div as div,
    eq as eq,
    exp as exp,
    ge as ge,
    gt as gt,
    le as le,
    log as log,
    lt as lt,
    mul as mul,
    ne as ne,
    neg as neg,
    pow as pow,
    sqrt as sqrt,
    sub as sub,
    tanh as tanh,
    where as where,
)
from jitgrad.ops.random import (
    Generator as Generator,
    manual_seed as manual_seed,
    rand as rand,
    randint as randint,
    randn as randn,
    randperm as randperm,
)
from jitgrad.ops.reduce import amax as amax, argmax as argmax, max as max, mean as mean, sum as sum, var as var
from jitgrad.ops.runtime import (
    clear_cache as clear_cache,
    get_num_threads as get_num_threads,
    set_num_threads as set_num_threads,
)
from jitgrad.ops.softmax import log_softmax as log_softmax, softmax as softmax
from jitgrad.ops.views import (
    as_strided as as_strided,
    flatten as flatten,
    narrow as narrow,
    permute as permute,
    reshape as reshape,
    squeeze as squeeze,
    t as t,
    transpose as transpose,
    unflatten as unflatten,
    unsqueeze as unsqueeze,
)
