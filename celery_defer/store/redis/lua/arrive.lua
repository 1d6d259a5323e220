-- KEYS: the record, the index of due times, the index of waits
-- ARGV: run id, step, now, end of the lease
-- Returns {run id, token, body, tries} if the run is parked at the step and not leased.
local record = read(KEYS[1])
if record.step ~= ARGV[2] then
  return false
end
redis.call('ZREM', KEYS[3], ARGV[1])
if tonumber(record.lease or 0) > tonumber(ARGV[3]) then
  record.over = ARGV[3] -- the holder of the lease may have looked before this
  write(KEYS[1], record, 'KEEPTTL')
  return false
end
return lease(KEYS[1], record, KEYS[2], ARGV[1], ARGV[4])
