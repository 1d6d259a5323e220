-- KEYS: the record, the index of due times, the index of waits
-- ARGV: run id, step, now, end of the lease (both as seconds from now)
-- Returns the lease of the record if the run is parked at the step and not leased.
local record = read(KEYS[1])
if record.step ~= ARGV[2] then
  return false
end
redis.call('ZREM', KEYS[3], ARGV[1])
if record.lease > now + ARGV[3] then
  record.over = now + ARGV[3] -- the holder of the lease may have looked before this
  change(KEYS[1], record)
  return false
end
return lease(KEYS[1], record, KEYS[2], ARGV[1], now + ARGV[4])
