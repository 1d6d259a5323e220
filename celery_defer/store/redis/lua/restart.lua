-- KEYS: the run, its record, the index of due times, the channel of the alarm, the index of deadlines
-- ARGV: run id, turn, step, token, body, seconds until due, seconds to keep, what is to be
--       known of the run if its record is lost, or nothing, how many of its fields are forgotten, and those
-- Returns 1 if the run has begun another turn, for which its record waits. 0 if it is in another turn, or
-- the outbox has a record of it: it is parked, or what it has deferred waits.
local run = KEYS[1]
local state = redis.call('HMGET', run, 'turn', 'owner')
local is_parked = state[1] and not state[2]
if (state[1] or '0') ~= ARGV[2] or is_parked or redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
unwatch(run, ARGV[1], KEYS[5])
redis.call('HSET', run, 'turn', ARGV[2] + 1)
redis.call('HDEL', run, 'owner', 'cancelled', 'end', 'why', 'begun')
if ARGV[8] ~= '' then
  redis.call('HSET', run, 'end', ARGV[8])
end
for i = 10, 9 + ARGV[9] do
  redis.call('HDEL', run, ARGV[i])
end
for _, field in ipairs(redis.call('HKEYS', run)) do
  if field:sub(1, 2) == 'c:' then -- events that it has received are known one by one
    redis.call('HDEL', run, field)
  end
end
keep(run, ARGV[7] + 172800) -- as park.lua
write(KEYS[2], {token = ARGV[4], step = ARGV[3]}, ARGV[5], 'EX', ARGV[7])
redis.call('ZADD', KEYS[3], now + ARGV[6], ARGV[1])
redis.call('PUBLISH', KEYS[4], ARGV[6])
return 1
