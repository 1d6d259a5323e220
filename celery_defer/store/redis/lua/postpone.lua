-- KEYS: the record, the index of due times
-- ARGV: run id, token, seconds until due, a new body or nothing, then facts for `note`
-- Returns 1 if that is done; a record that is gone, or was staged since, stays as it is.
local record = read(KEYS[1])
if record.token == ARGV[2] and record.token ~= '' then
  local due = record.over or now + ARGV[3] -- over: the wait ended during the lease
  record.lease, record.over = nil, nil
  redis.call('ZREM', KEYS[2], ARGV[1]) -- a full Redis refuses a script whose first write needs memory
  redis.call('ZADD', KEYS[2], due, ARGV[1])
  if ARGV[4] ~= '' then
    write(KEYS[1], record, ARGV[4], 'KEEPTTL')
  else
    change(KEYS[1], record)
  end
  note(5)
  return 1
end
