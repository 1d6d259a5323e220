-- KEYS: the record, the index of due times
-- ARGV: run id, token or nothing
-- Answers nothing; a record that was staged since stays, unless no token was given.
if ARGV[2] == '' or redis.call('HGET', KEYS[1], 'token') == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
