-- KEYS: the run, its record, the index of due times, the channel of nudges,
--       and for a wait for an event: who waits for it, those that came, the event's shapes
-- ARGV: run id, turn, step, note, token, body, due, seconds to keep, now, when a relay looks by
--       itself, and for a wait for an event: shape, since, from when a new shape counts as known
-- Answers {'parked', since when the shape is known}, {'arrived', memo}, {'superseded'} or
-- {'cancelled'}.
local run, id, step, known = KEYS[1], ARGV[1], ARGV[3], '0'
local function keep(key)
  if redis.call('TTL', key) < tonumber(ARGV[8]) then
    redis.call('EXPIRE', key, ARGV[8])
  end
end
local state = redis.call('HMGET', run, 'turn', 'cancelled', 'm:' .. step)
if state[2] then
  return {'cancelled'}
elseif (state[1] or '0') ~= ARGV[2] then
  return {'superseded'}
elseif state[3] then
  return {'arrived', state[3]}
end
local memo = KEYS[5] and receive(run, step, KEYS[6], ARGV[12])
if memo then
  keep(run)
  return {'arrived', memo}
end
local before = redis.call('HGET', KEYS[2], 'waits')
redis.call('HSET', run, 'turn', ARGV[2] + 1, 'w:' .. step, ARGV[4])
redis.call('HDEL', run, 'owner')
if before then -- the wait of an earlier turn is over, also where nobody has settled it
  redis.call('ZREM', before, id)
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'token', ARGV[5], 'body', ARGV[6], 'step', step)
redis.call('ZADD', KEYS[3], ARGV[7], id)
keep(run)
keep(KEYS[2])
if KEYS[5] then
  redis.call('HSET', KEYS[2], 'waits', KEYS[5])
  redis.call('ZADD', KEYS[5], ARGV[9], id)
  keep(KEYS[5])
  if ARGV[11] ~= '[]' then -- events are always kept by their name alone
    redis.call('ZADD', KEYS[7], 'NX', ARGV[13], ARGV[11])
    known = redis.call('ZSCORE', KEYS[7], ARGV[11])
    keep(KEYS[7])
  end
end
if tonumber(ARGV[7]) < tonumber(ARGV[10]) then
  redis.call('PUBLISH', KEYS[4], ARGV[7])
end
return {'parked', known}
