-- KEYS: the run, its first owner, its record, the index of due times, the index of waits,
--       the channel of the alarm, and for an event: its past events, the shapes of its name
-- ARGV: run id, turn, step, note, token, body, seconds until due, seconds to keep, and after which a relay
--       looks by itself, what is to be known of the run if its record is lost, or nothing, since when and until
--       when the step waits, as the caller writes it; for an event:
--       digest, its number in the index of waits, shape, since, in how many seconds a new shape is known,
--       since when at most (as seconds from now), 1 if the caller has looked for earlier events, their
--       number, and each as event id, time, memo; then facts for `note` and commands to execute if the run parks
-- Returns {'parked'}, {'arrived', memo}, {'look', since when the shape is known, since when events count},
-- {'superseded'} or {'cancelled'}.
local run, id, step = KEYS[1], ARGV[1], ARGV[3]
local state = redis.call('HMGET', run, 'turn', 'cancelled', 'm:' .. step, 'watch')
if state[2] then
  return {'cancelled'}
elseif (state[1] or '0') ~= ARGV[2] then
  return {'superseded'}
elseif state[3] then
  return {'arrived', state[3]}
end
local since = KEYS[7] and cursor(run, ARGV[12], math.max(ARGV[15], now + ARGV[17]))
if KEYS[7] and ARGV[14] ~= '[]' then -- which every event is kept by
  redis.call('ZADD', KEYS[8], 'NX', now + ARGV[16], ARGV[14])
  keep(KEYS[8], ARGV[8])
  local known_since = redis.call('ZSCORE', KEYS[8], ARGV[14])
  if ARGV[18] == '0' and tonumber(known_since) > since then
    return {'look', known_since, string.format('%.17g', since)}
  end
end
local last = KEYS[7] and 19 + 3 * ARGV[19] or 11
local memo = KEYS[7] and receive(run, step, ARGV[12], KEYS[7], since, ARGV, 20, last)
if memo then
  keep(run, ARGV[8])
  return {'arrived', memo}
end
redis.call('HSET', run, 'turn', ARGV[2] + 1, 'w:' .. step, ARGV[4], 't:' .. step, ARGV[11])
redis.call('HDEL', run, 'owner')
if ARGV[10] ~= '' then
  redis.call('HSET', run, 'end', ARGV[10])
end
redis.call('DEL', KEYS[2])
keep(run, ARGV[8] + 172800) -- longer than the record, in case a relay finds that expired
local record = {token = ARGV[5], step = step, digest = KEYS[7] and ARGV[12]}
for key in (state[4] or ''):gmatch('[^\n]+') do -- the events that cancel the run
  keep(key, ARGV[8] + 172800)
end
write(KEYS[3], record, ARGV[6], 'EX', ARGV[8])
redis.call('ZADD', KEYS[4], now + ARGV[7], id)
if KEYS[7] then
  redis.call('ZADD', KEYS[5], ARGV[13], id)
else -- an earlier wait is over, even if it was not settled
  redis.call('ZREM', KEYS[5], id)
end
if tonumber(ARGV[7]) < tonumber(ARGV[9]) then
  redis.call('PUBLISH', KEYS[6], ARGV[7])
end
execute(note(last + 1))
return {'parked'}
