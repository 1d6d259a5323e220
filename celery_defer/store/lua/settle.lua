-- KEYS: the record, the index of due times
-- ARGV: run id, token
-- Answers nothing; a record that was staged since stays.
if redis.call('HGET', KEYS[1], 'token') == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
