-- Comes before other scripts and after record.lua, for which it defines a function.
-- Leases the record of a run; returns {run id, token, body, tries}.
local function lease(key, record, due, id, ends)
  record.lease, record.tries = ends, (record.tries or 0) + 1
  write(key, record, 'KEEPTTL')
  redis.call('ZADD', due, ends, id)
  return {id, record.token, record.body or '', record.tries}
end
