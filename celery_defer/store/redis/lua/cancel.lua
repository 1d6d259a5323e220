-- KEYS: the run, its record, the index of due times, the index of waits
-- ARGV: run id, seconds to keep, 1 to cancel only a parked run, when a relay may take the record
-- Returns the body of the record if the run was parked; its wait is over.
local record = read(KEYS[2])
if not record.step and ARGV[3] == '1' then -- not parked
  return false
end
redis.call('ZREM', KEYS[4], ARGV[1]) -- a full Redis refuses a script whose first write needs memory
redis.call('HSET', KEYS[1], 'cancelled', '1')
if not record.step then -- a retry of it may wait for long
  keep(KEYS[1], ARGV[2])
  return false
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local body = body_of(KEYS[2], record)
record.step, record.digest, record.lease = nil, nil, tonumber(ARGV[4])
write(KEYS[2], record, body, 'EX', ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
return body
