-- KEYS: the index of due times, the index of waits, the index of deadlines
-- ARGV: what is due by now, end of the lease (both as seconds from now), how many at most, how many bytes
--       at most, start and end of a record's key, end of a run's key
-- Returns a list of leases, each with the seconds that the record has to live and has been due, longest
-- due first. What is not a record has no token; a record that has vanished has no tries either, and
-- stays in line; one of a later form is left alone.
cancel_late(now + ARGV[1], ARGV[3], KEYS[1], KEYS[2], KEYS[3], ARGV[5], ARGV[6], ARGV[7])
local records, left = {}, tonumber(ARGV[4])
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now + ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #due, 2 do
  local id, late = due[i], now + ARGV[1] - due[i + 1]
  local key = ARGV[5] .. id .. ARGV[6]
  local record = read(key)
  left = left - (record.body and #record.body or ask('STRLEN', key) or 0)
  if i > 1 and left < 0 then -- the next look takes it
    break
  end
  if (record.token or '') ~= '' then
    local row = lease(key, record, KEYS[1], id, now + ARGV[2])
    table.insert(row, redis.call('TTL', key))
    table.insert(row, string.format('%.17g', late))
    table.insert(records, row)
  else
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[1], now + ARGV[2], id)
    if not record.token then
      redis.call('ZREM', KEYS[2], id)
      table.insert(records, {id, '', '', 0, 0})
    elseif not record.is_later then
      table.insert(records, {id, '', body_of(key, record), 1, 0})
    end
  end
end
return records
