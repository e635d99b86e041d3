"""Functional ops under PyTorch's names: ``import jitgrad.nn.functional as F``."""

from jitgrad.ops.conv import conv2d as conv2d
from jitgrad.ops.index import embedding as embedding
from jitgrad.ops.loss import cross_entropy as cross_entropy, nll_loss as nll_loss
from jitgrad.ops.matmul import linear as linear
from jitgrad.ops.norm import batch_norm as batch_norm, layer_norm as layer_norm
from jitgrad.ops.pointwise import gelu as gelu, relu as relu, tanh as tanh
from jitgrad.ops.pool import avg_pool2d as avg_pool2d, max_pool2d as max_pool2d
from jitgrad.ops.random import dropout as dropout
from jitgrad.ops.softmax import log_softmax as log_softmax, softmax as softmax
