-- KEYS: the record, the index of due times
-- ARGV: run id, token or nothing
-- Answers nothing; a record that was staged since stays, unless no token was given.
local kept = redis.call('HMGET', KEYS[1], 'token', 'waits')
if ARGV[2] == '' or kept[1] == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  if kept[2] then -- it waited for an event no longer
    redis.call('ZREM', kept[2], ARGV[1])
  end
end
