"""Attack: what must hold is attacked, counted and repeated: files, calls, connections, faults, damage and kills.

    make attack                      the short form, of minutes
    make attack ARGS=--long          the long form, about an hour on two cores

Servers are processes of their own on the loopback; nothing beyond it is asked. docs/reliability.md holds the counts.
Like `harness` and `benchmarks` it is installed nowhere.
"""
