-- KEYS: the run, the past events with the digest of its wait
-- ARGV: step, since, the memo of a wait without an event, seconds to keep, since when at most (as
--       seconds from now), the digest
-- Returns the memo of the step.
local memo = redis.call('HGET', KEYS[1], 'm:' .. ARGV[1])
  or receive(
    KEYS[1], ARGV[1], ARGV[6], KEYS[2],
    cursor(KEYS[1], ARGV[6], math.max(ARGV[2], now + ARGV[5])), {}, 1, 0
  )
if not memo then
  memo = ARGV[3]
  redis.call('HSET', KEYS[1], 'm:' .. ARGV[1], memo)
end
keep(KEYS[1], ARGV[4])
return memo
