"""Floor 1: Tensor, Primitive, the door, the walk, grad modes, Function, gradcheck."""

from jitgrad.autograd.anomaly import (
    detect_anomaly as detect_anomaly,
    is_anomaly_check_nan_enabled as is_anomaly_check_nan_enabled,
    is_anomaly_enabled as is_anomaly_enabled,
    set_detect_anomaly as set_detect_anomaly,
)
from jitgrad.autograd.creation import (
    as_device as as_device,
    as_tensor as as_tensor,
    cast as cast,
    detach as detach,
    from_dlpack as from_dlpack,
    from_numpy as from_numpy,
    numbers as numbers,
    scalar as scalar,
    tensor as tensor,
    to_device as to_device,
    weak_dtype as weak_dtype,
)
from jitgrad.autograd.display import set_printoptions as set_printoptions, tensor_html as tensor_html, tensor_repr as tensor_repr
from jitgrad.autograd.dry import DryRun as DryRun
from jitgrad.autograd.function import Function as Function, once_differentiable as once_differentiable
from jitgrad.autograd.gradcheck import gradcheck as gradcheck, gradgradcheck as gradgradcheck
from jitgrad.autograd.graph import backward as backward, grad as grad, run_backward as run_backward
from jitgrad.autograd.inplace import check_writable as check_writable, copy_ as copy_, write as write
from jitgrad.autograd.lines import Line as Line, raised_at as raised_at, user_line as user_line
from jitgrad.autograd.listener import Listener as Listener, tell_read as tell_read
from jitgrad.autograd.mode import (
    enable_grad as enable_grad,
    is_grad_enabled as is_grad_enabled,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)
from jitgrad.autograd.node import Leaf as Leaf, Node as Node, RemovableHandle as RemovableHandle
from jitgrad.autograd.primitive import Primitive as Primitive, Spec as Spec
from jitgrad.autograd.primitives import (
    ADD as ADD,
    AS_STRIDED as AS_STRIDED,
    AS_STRIDED_GRAD as AS_STRIDED_GRAD,
    BROADCAST_TO as BROADCAST_TO,
    FULL as FULL,
    broadcast_to as broadcast_to,
    broadcasting as broadcasting,
    clone as clone,
    contiguous as contiguous,
    filled as filled,
    same as same,
    sum_to as sum_to,
)
from jitgrad.autograd.tensor import Tensor as Tensor, current_node as current_node, wrap as wrap
