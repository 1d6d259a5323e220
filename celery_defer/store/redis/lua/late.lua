-- Comes before other scripts and after cancelling.lua, for which it defines a function.
-- Cancels at most so many of the runs whose deadline is over by a time.
local WEEK = 604800 -- for which a run that was cancelled is kept until a relay ends it
local function cancel_late(by, limit, due, waits, deadlines, start, record_end, run_end)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', by, 'LIMIT', 0, limit)) do
    local run = start .. id .. run_end
    local why = redis.call('HGET', run, 'late') or ''
    cancel(id, run, {start .. id .. record_end, due, waits, deadlines}, why, WEEK, by, 0)
  end
end
