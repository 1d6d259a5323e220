-- KEYS: the index of due times, the index of waits
-- ARGV: now, end of the lease, how many at most, start and end of a record's key
-- Returns a list of {run id, token, body, tries}, longest due first; a record that has
-- vanished has only its id.
local records = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local key = ARGV[4] .. id .. ARGV[5]
  local is_readable, record = pcall(read, key)
  if is_readable and record.token then
    table.insert(records, lease(key, record, KEYS[1], id, ARGV[2]))
  else -- the record has expired, or the key holds something else
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    table.insert(records, {id, '', '', 0})
  end
end
return records
