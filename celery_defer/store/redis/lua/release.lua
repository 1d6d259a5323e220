-- KEYS: the record, the index of due times, the quarantine, the channel of the alarm
-- ARGV: run id, token, body, seconds until due, seconds to keep
-- Returns 1 if the record was in quarantine, and is in the outbox now; 0 also if the outbox has another
-- record of the run, which stays.
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 0 or redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
write(KEYS[1], {token = ARGV[2]}, ARGV[3], 'EX', ARGV[5])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('PUBLISH', KEYS[4], ARGV[4])
return 1
