-- KEYS: the run, its record, the index of due times
-- ARGV: run id, step, now, end of the lease, and for an event: its id, its memo
-- Answers {run id, token, body, tries} if the run is parked at the step, and nobody wakes it.
local kept = redis.call('HMGET', KEYS[2], 'token', 'body', 'step', 'waits', 'lease')
if kept[3] ~= ARGV[2] then
  return false
end
if ARGV[5] then
  local memo, event = 'm:' .. ARGV[2], 'e:' .. ARGV[5]
  local has = redis.call('HMGET', KEYS[1], 'turn', memo, event)
  if not has[1] or has[2] or has[3] then -- forgotten, woken, or it has received the event
    return false
  end
  redis.call('HSET', KEYS[1], memo, ARGV[6], event, '1')
end
if kept[4] then
  redis.call('ZREM', kept[4], ARGV[1])
end
if tonumber(kept[5] or 0) > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[2], 'over', ARGV[3]) -- who has it may have looked before
  return false
end
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
redis.call('HSET', KEYS[2], 'lease', ARGV[4])
return {ARGV[1], kept[1], kept[2], redis.call('HINCRBY', KEYS[2], 'tries', 1)}
