-- KEYS: the record, the index of due times, the index of waits
-- ARGV: run id, token or nothing, then facts for `note`
-- Returns 1 if that is done; a record that was staged since stays, unless no token was given.
if ARGV[2] == '' or read(KEYS[1]).token == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  note(3)
  return 1
end
