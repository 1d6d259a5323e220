-- KEYS: the record, the index of due times, the index of waits
-- ARGV: run id, step, now, end of the lease
-- Answers {run id, token, body, tries} if the run is parked at the step, and nobody wakes it.
local record = read(KEYS[1])
if record.step ~= ARGV[2] then
  return false
end
redis.call('ZREM', KEYS[3], ARGV[1])
local is_leased = tonumber(record.lease or 0) > tonumber(ARGV[3])
if is_leased then
  record.over = ARGV[3] -- who has it may have looked before
else
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
  record.lease, record.tries = ARGV[4], record.tries + 1
end
write(KEYS[1], record, 'KEEPTTL')
return not is_leased and {ARGV[1], record.token, record.body, record.tries}
