-- KEYS: the record, the index of due times, the records put aside
-- ARGV: run id, token, reason, seconds to keep
-- Answers nothing.
local record = redis.call('HMGET', KEYS[1], 'token', 'body', 'waits')
if record[1] == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  if record[3] then
    redis.call('ZREM', record[3], ARGV[1])
  end
  redis.call('HSET', KEYS[3], ARGV[1], cjson.encode({ARGV[3], record[2] or ''}))
  if redis.call('TTL', KEYS[3]) < tonumber(ARGV[4]) then -- what is there may have to stay longer
    redis.call('EXPIRE', KEYS[3], ARGV[4])
  end
end
