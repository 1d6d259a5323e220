-- KEYS: the record, the index of due times
-- ARGV: run id, token, due
-- Answers nothing; a record that is gone, or was staged since, keeps its time.
if redis.call('HGET', KEYS[1], 'token') == ARGV[2] then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
end
