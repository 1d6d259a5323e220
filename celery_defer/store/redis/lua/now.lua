-- Comes before other scripts, for which it defines the time, by the server's clock alone. Times come as
-- seconds from now, so no client's clock decides anything; but the `since` of runs and of shapes came from here.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
