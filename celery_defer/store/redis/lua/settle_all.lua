-- KEYS: the index of due times, the index of waits, then the records
-- ARGV: for each record: run id, token
-- Answers nothing; a record that was staged since stays.
for i = 3, #KEYS do
  local id = ARGV[2 * i - 5]
  if read(KEYS[i]).token == ARGV[2 * i - 4] then
    redis.call('DEL', KEYS[i])
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
  end
end
