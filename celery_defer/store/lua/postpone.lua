-- KEYS: the record, the index of due times
-- ARGV: run id, token, due, a new body or nothing
-- Answers nothing; a record that is gone, or was staged since, stays as it is.
if redis.call('HGET', KEYS[1], 'token') == ARGV[2] then
  local over = redis.call('HGET', KEYS[1], 'over') -- the wait ended while somebody had it
  redis.call('ZADD', KEYS[2], over or ARGV[3], ARGV[1])
  redis.call('HDEL', KEYS[1], 'lease', 'over')
  if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[1], 'body', ARGV[4])
  end
end
