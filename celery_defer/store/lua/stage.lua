-- KEYS: the record, the index of due times
-- ARGV: run id, token, body, due, seconds to keep
-- Answers nothing. The first write is one that a full Redis refuses, so nothing is half done.
local waits = redis.call('HGET', KEYS[1], 'waits') -- an earlier record may be of a parked run
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'body', ARGV[3], 'tries', 0)
redis.call('HDEL', KEYS[1], 'lease', 'over', 'step', 'waits')
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
if waits then
  redis.call('ZREM', waits, ARGV[1])
end
