-- KEYS: the index of due times, the index of waits, then the records
-- ARGV: for each record: run id, token or nothing
-- Returns nothing; a record that was staged since stays, unless no token was given.
for i = 3, #KEYS do
  local id, token = ARGV[2 * i - 5], ARGV[2 * i - 4]
  if token == '' or read(KEYS[i]).token == token then
    redis.call('DEL', KEYS[i])
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
  end
end
