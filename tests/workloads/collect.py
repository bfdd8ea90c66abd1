"""Collects garbage, and says how often, which generations, and how much that was.

collect.py [wait] MODE
  asked       of each generation, with a known number of objects
  automatic   what the interpreter does by itself

  python pid=
  gc generation= collected= began= ended=   each collection is between the two times
"""

import gc
import os
import sys
import time


class Node:
    pass


seen = []
began = 0


def watch(phase, info):
    global began
    if phase == "start":
        began = time.monotonic_ns()
    else:
        freed = info["collected"] + info["uncollectable"]
        seen.append((info["generation"], freed, began, time.monotonic_ns()))


def garbage(count):
    for _ in range(count):
        node = Node()
        node.itself = node


def asked():
    for generation in (0, 1, 2, 2, 0, 1, 2):
        garbage(100 * (generation + 1))
        gc.collect(generation)
    gc.collect(0)


def automatic():
    gc.enable()
    for _ in range(40):
        garbage(1000)
    gc.disable()


def main():
    gc.disable()
    print(f"python pid={os.getpid()}", flush=True)
    modes = sys.argv[1:]
    if modes[0] == "wait":
        modes.pop(0)
        print("ready", flush=True)
        sys.stdin.readline()
    gc.collect()
    gc.callbacks.append(watch)
    {"asked": asked, "automatic": automatic}[modes[0]]()
    gc.callbacks.remove(watch)
    for generation, freed, start, end in seen:
        print(f"gc generation={generation} collected={freed} began={start} ended={end}")
    sys.stdout.flush()
    # Else it would collect once more.
    os._exit(0)


main()
