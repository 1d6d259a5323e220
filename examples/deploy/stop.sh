#!/bin/sh
# stop.sh PID SECONDS: stop a worker, and give back what does not end in time.
#
# SIGTERM: it takes no more tasks, and ends those that it has.
# SIGQUIT: it ends at once; messages of tasks with acks_late go back to their queue.
kill -TERM "$1" || exit 0
for _ in $(seq "$2"); do
    kill -0 "$1" 2>/dev/null || exit 0
    sleep 1
done
kill -QUIT "$1"
