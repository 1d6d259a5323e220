-- KEYS: the index of due times
-- ARGV: now, end of the lease, how many at most, start and end of a record's key
-- Answers a list of {run id, token, body, tries}, longest due first; of a record that has
-- vanished there is the id alone.
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local key = ARGV[4] .. id .. ARGV[5]
  local record = redis.pcall('HMGET', key, 'token', 'body')
  if record[1] then
    redis.call('ZADD', KEYS[1], ARGV[2], id)
    redis.call('HSET', key, 'lease', ARGV[2])
    local tries = redis.call('HINCRBY', key, 'tries', 1)
    table.insert(taken, {id, record[1], record[2] or '', tries})
  else -- the record has expired, or the key holds something else
    redis.call('ZREM', KEYS[1], id)
    table.insert(taken, {id, '', '', 0})
  end
end
return taken
