"""Model surgery: find layers by number, path, pattern, class or predicate; replace, insert, remove, freeze, swap; take any of it back."""

from jitgrad.nn.surgery._address import get as get, select as select
from jitgrad.nn.surgery._change import Change as Change
from jitgrad.nn.surgery._edits import (
    freeze as freeze,
    insert_after as insert_after,
    insert_before as insert_before,
    remove as remove,
    replace as replace,
    swap as swap,
    unfreeze as unfreeze,
)
from jitgrad.nn.surgery._table import Row as Row, Table as Table, index as index
from jitgrad.nn.surgery._temporary import temporarily as temporarily
