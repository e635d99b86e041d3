"""Functional ops under PyTorch's names: ``import jitgrad.nn.functional as F``."""

from jitgrad.ops.activation import (
    elu as elu,
    gelu as gelu,
    leaky_relu as leaky_relu,
    relu as relu,
    sigmoid as sigmoid,
    silu as silu,
    softplus as softplus,
)
from jitgrad.ops.conv import conv1d as conv1d, conv2d as conv2d
from jitgrad.ops.index import embedding as embedding, one_hot as one_hot
from jitgrad.ops.loss import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    cross_entropy as cross_entropy,
    l1_loss as l1_loss,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
)
from jitgrad.ops.matmul import bilinear as bilinear, linear as linear
from jitgrad.ops.norm import batch_norm as batch_norm, layer_norm as layer_norm
from jitgrad.ops.pointwise import tanh as tanh
from jitgrad.ops.pool import (
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
)
from jitgrad.ops.random import dropout as dropout
from jitgrad.ops.softmax import log_softmax as log_softmax, softmax as softmax
