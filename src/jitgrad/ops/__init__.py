"""Floor 2: functional ops by family; forward, infer and backward rules side by side."""

from jitgrad.ops import _methods as _methods
from jitgrad.ops.activation import relu as relu, sigmoid as sigmoid
from jitgrad.ops.arrange import (
    chunk as chunk,
    flip as flip,
    repeat_interleave as repeat_interleave,
    roll as roll,
    split as split,
    tile as tile,
    unbind as unbind,
)
from jitgrad.ops.convert import clone as clone, numel as numel
from jitgrad.ops.create import (
    arange as arange,
    empty as empty,
    empty_like as empty_like,
    eye as eye,
    full as full,
    full_like as full_like,
    linspace as linspace,
    ones as ones,
    ones_like as ones_like,
    zeros as zeros,
    zeros_like as zeros_like,
)
from jitgrad.ops.distributions import (
    bernoulli as bernoulli,
    multinomial as multinomial,
    normal as normal,
    rand_like as rand_like,
    randint_like as randint_like,
    randn_like as randn_like,
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
from jitgrad.ops.products import bmm as bmm, dot as dot, mm as mm, mv as mv, outer as outer
from jitgrad.ops.random import (
    Generator as Generator,
    default_generator as default_generator,
    get_rng_state as get_rng_state,
    initial_seed as initial_seed,
    manual_seed as manual_seed,
    rand as rand,
    randint as randint,
    randn as randn,
    randperm as randperm,
    seed as seed,
    set_rng_state as set_rng_state,
)
from jitgrad.ops.reduce import amax as amax, argmax as argmax, max as max, mean as mean, sum as sum, var as var
from jitgrad.ops.runtime import (
    clear_cache as clear_cache,
    get_num_threads as get_num_threads,
    set_num_threads as set_num_threads,
)
from jitgrad.ops.select import (
    argsort as argsort,
    gather as gather,
    index_select as index_select,
    masked_fill as masked_fill,
    masked_select as masked_select,
    sort as sort,
    topk as topk,
    tril as tril,
    triu as triu,
)
from jitgrad.ops.softmax import log_softmax as log_softmax, softmax as softmax
from jitgrad.ops.summary import (
    all as all,
    allclose as allclose,
    amin as amin,
    any as any,
    argmin as argmin,
    equal as equal,
    isclose as isclose,
    min as min,
    prod as prod,
    std as std,
)
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
