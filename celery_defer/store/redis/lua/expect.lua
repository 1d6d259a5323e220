-- KEYS: the index of due times, then the records
-- ARGV: for each record: run id, token, in how many seconds a relay looks at it again
-- Returns nothing; a record that is gone, because its run has resumed, stays gone.
for i = 2, #KEYS do
  local id, token, look = unpack(ARGV, 3 * i - 5, 3 * i - 3)
  if read(KEYS[i]).token == token then
    redis.call('ZREM', KEYS[1], id) -- a full Redis refuses a script whose first write needs memory
    redis.call('ZADD', KEYS[1], now + look, id)
  end
end
