-- KEYS: the run, the events that came with the values that it waited for
-- ARGV: step, since, the memo of a wait without an event, seconds to keep
-- Returns the memo that the step has from now on.
local memo = redis.call('HGET', KEYS[1], 'm:' .. ARGV[1])
  or receive(KEYS[1], ARGV[1], KEYS[2], ARGV[2], {}, 1, 0)
if not memo then
  memo = ARGV[3]
  redis.call('HSET', KEYS[1], 'm:' .. ARGV[1], memo)
end
keep(KEYS[1], ARGV[4])
return memo
