#!/bin/bash
# usage: demo.sh BURNER
#
# The workload of `make demo`: a few processes, some signals, and CPU time in known functions.
set -u

"$1" shares 1500 &
burner=$!

for name in one two three; do
  sh -c "echo hello from $name; exit 0" > /dev/null
done
sh -c 'exit 7'
(kill -TERM "$BASHPID")

sleep 100 &
kill -STOP $! && kill -CONT $! && kill -KILL $!

# Shell work: forks, pipes, and time in the kernel.
for _ in $(seq 20); do
  seq 20000 | sort -rn | md5sum > /dev/null
done

wait "$burner"
exit 0
