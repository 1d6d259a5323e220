-- KEYS: the record, the index of due times
-- ARGV: run id, token, due, a new body or nothing
-- Returns nothing; a record that is gone, or was staged since, stays as it is.
local record = read(KEYS[1])
if record.token == ARGV[2] then
  redis.call('ZADD', KEYS[2], record.over or ARGV[3], ARGV[1]) -- over: the wait ended
  record.lease, record.over = nil, nil -- during the lease
  record.body = ARGV[4] ~= '' and ARGV[4] or record.body
  write(KEYS[1], record, 'KEEPTTL')
end
