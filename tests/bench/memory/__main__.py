"""Prints how many bytes of Redis each thing takes: ``python -m tests.bench.memory [TIMES]``."""

from __future__ import annotations

import sys

from tests.bench.memory.measures import measured, scored, staged


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    bare = {**measured(times, has_record=False), **staged(times), **scored(times)}
    recorded = measured(times, has_record=True)
    print("   bytes  with its record")
    for name, size in bare.items():
        print(f"{size:8,.0f}  {recorded.get(name, size):8,.0f}  {name}")


if __name__ == "__main__":
    main()
