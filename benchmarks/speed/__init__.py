"""Benchmarks for asv, a file for each family of ops. See CONTRIBUTING.md for the commands.

Each is measured for jitgrad and for the same arithmetic in NumPy, tiny and large, in float32. `setup` runs what is measured once, so that
kernels are compiled; the result is read each time. asv forks its processes: kernels run on one thread, as a fork has no pool of them.
`--launch-method spawn` measures with all threads.
"""
