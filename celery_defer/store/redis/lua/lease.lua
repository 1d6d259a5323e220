-- Comes before other scripts and after write.lua, for which it defines a function.
-- Leases the record of a run; returns {run id, token, body, tries, 1 if the run was cancelled}. Of a
-- large body it returns where it begins: the caller reads it in parts, so that it holds up nobody.
local LARGE = 4 * 1024 * 1024
local function lease(key, record, due, id, ends)
  record.lease, record.tries = tonumber(ends), record.tries + 1
  redis.call('ZREM', due, id) -- a full Redis refuses a script whose first write needs memory
  change(key, record)
  redis.call('ZADD', due, ends, id)
  local is_large = not record.body and redis.call('STRLEN', key) > LARGE
  local body = is_large and record.at or body_of(key, record)
  return {id, record.token, body, record.tries, record.is_cancelled and 1 or 0}
end
