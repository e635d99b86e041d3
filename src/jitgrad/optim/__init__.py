"""Optimizers: each step is one primitive over all parameters."""

from jitgrad.optim.adam import Adam as Adam, AdamW as AdamW
from jitgrad.optim.optimizer import Optimizer as Optimizer
from jitgrad.optim.sgd import SGD as SGD
