-- KEYS: the index of due times, then the records
-- ARGV: for each record: run id, token
-- Answers nothing; a record that was staged since stays.
for i = 2, #KEYS do
  local id, kept = ARGV[2 * i - 3], redis.call('HMGET', KEYS[i], 'token', 'waits')
  if kept[1] == ARGV[2 * i - 2] then
    redis.call('DEL', KEYS[i])
    redis.call('ZREM', KEYS[1], id)
    if kept[2] then -- it waited for an event no longer
      redis.call('ZREM', kept[2], id)
    end
  end
end
