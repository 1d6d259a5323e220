-- KEYS: the record, the index of due times, the index of waits, the quarantine
-- ARGV: run id, token, reason, seconds to keep, then facts for `note`
-- Returns 1 if that is done.
local record = read(KEYS[1])
if record.token == ARGV[2] and not record.is_later then
  local body = body_of(KEYS[1], record)
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[3] .. '\0' .. body)
  keep(KEYS[4], ARGV[4]) -- other records may have to stay longer
  note(5)
  return 1
end
