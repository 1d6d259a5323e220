-- KEYS: the record, the index of due times, the channel of the alarm
-- ARGV: run id, now (as seconds from now)
-- Returns 1 if there is a record, which is due now; or once its holder postpones it, if it is leased.
local record = read(KEYS[1])
if (record.token or '') == '' then
  return 0
end
if record.lease > now + ARGV[2] then
  record.over = now + ARGV[2]
  change(KEYS[1], record)
  return 1
end
redis.call('ZREM', KEYS[2], ARGV[1]) -- a full Redis refuses a script whose first write needs memory
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('PUBLISH', KEYS[3], ARGV[2])
return 1
