-- KEYS: the run, its record, the index of due times, the channel of nudges,
--       and for a wait for an event: who waits for it, those that came, the event's shapes
-- ARGV: run id, turn, step, note, token, body, due, seconds to keep, now, when a relay looks by
--       itself, and for a wait for an event: shape, since
-- Answers {'parked', since when the shape is known}, {'arrived', memo}, {'superseded'} or
-- {'cancelled'}.
local run, id, step, keys = KEYS[1], ARGV[1], ARGV[3], {KEYS[1], KEYS[2], KEYS[5], KEYS[7]}
local state, known = redis.call('HMGET', run, 'turn', 'cancelled'), '0'
if state[2] then
  return {'cancelled'}
elseif (state[1] or '0') ~= ARGV[2] then
  return {'superseded'}
end
if KEYS[5] then
  for _, came in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], ARGV[12], '+inf')) do
    local event, memo = came:match('^([^\n]*)\n(.*)$')
    if redis.call('HSETNX', run, 'e:' .. event, '1') == 1 then
      redis.call('HSETNX', run, 'm:' .. step, memo)
      return {'arrived', redis.call('HGET', run, 'm:' .. step)}
    end
  end
  if ARGV[11] ~= '[]' then -- events are always kept by their name alone
    redis.call('ZADD', KEYS[7], 'NX', ARGV[9], ARGV[11])
    known = redis.call('ZSCORE', KEYS[7], ARGV[11])
  end
  redis.call('ZADD', KEYS[5], ARGV[9], id)
end
redis.call('HSET', run, 'turn', ARGV[2] + 1, 'w:' .. step, ARGV[4])
redis.call('HDEL', run, 'owner')
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'token', ARGV[5], 'body', ARGV[6], 'step', step, 'waits', KEYS[5] or '')
redis.call('ZADD', KEYS[3], ARGV[7], id)
for i = 1, #KEYS > 4 and 4 or 2 do
  if redis.call('TTL', keys[i]) < tonumber(ARGV[8]) then
    redis.call('EXPIRE', keys[i], ARGV[8])
  end
end
if tonumber(ARGV[7]) < tonumber(ARGV[10]) then
  redis.call('PUBLISH', KEYS[4], ARGV[7])
end
return {'parked', known}
