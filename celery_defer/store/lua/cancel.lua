-- KEYS: the run, its record, the index of due times
-- ARGV: run id, seconds to keep, 1 if only a parked run is meant, when a relay takes the record
-- Answers the body of the record if the run was parked; it waits for nothing any more.
local kept = redis.call('HMGET', KEYS[2], 'body', 'step', 'waits')
if not kept[2] and ARGV[3] == '1' then -- not parked
  return false
end
redis.call('HSET', KEYS[1], 'cancelled', '1')
redis.call('EXPIRE', KEYS[1], ARGV[2])
if not kept[2] then
  return false
end
redis.call('HDEL', KEYS[2], 'step', 'waits')
redis.call('HSET', KEYS[2], 'lease', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
if kept[3] then
  redis.call('ZREM', kept[3], ARGV[1])
end
return kept[1]
