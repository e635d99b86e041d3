"""Schedulers: learning rates that change from epoch to epoch, or from step to step."""

from jitgrad.optim._cycles import CosineAnnealingLR as CosineAnnealingLR, OneCycleLR as OneCycleLR
from jitgrad.optim._plateau import ReduceLROnPlateau as ReduceLROnPlateau
from jitgrad.optim._scheduler import LRScheduler as LRScheduler
from jitgrad.optim._steps import (
    ConstantLR as ConstantLR,
    ExponentialLR as ExponentialLR,
    LambdaLR as LambdaLR,
    LinearLR as LinearLR,
    MultiStepLR as MultiStepLR,
    SequentialLR as SequentialLR,
    StepLR as StepLR,
)
