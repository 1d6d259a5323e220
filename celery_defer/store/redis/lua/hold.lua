-- KEYS: the run, its first owner, its record, the index of due times, the index of waits, the channel of the
--       alarm, the index of deadlines
-- ARGV: turn, token and body of the record, seconds until due, seconds to keep, and after which a relay looks
--       by itself, what is to be known of the run if its record is lost, or nothing, now and the end of the
--       leases (both as seconds from now), how many runs may be let through, why one ends that
--       this one replaces, then what the run asks with, then facts for `note` and commands to execute if it is
--       held back
-- Returns {what becomes of the run or nothing, the run that it replaces or nothing, leases of runs to publish,
-- 1 if the commands were executed, what is left of the replaced run, if that is in the outbox now}.
now = now + ARGV[8]
local run, most = KEYS[1], tonumber(ARGV[10])
local ends = now - ARGV[8] + ARGV[9]
local arrival, last = asked(12, KEYS[6])
local id, task = arrival.run, arrival.task
local state = redis.call('HMGET', run, 'turn', 'owner', 'cancelled', 'watch')
local is_others = state[2] and state[2]:match('^.*%.') ~= arrival.token:match('^.*%.')
if (state[1] or '0') ~= ARGV[1] or is_others then
  return {false, false, {}, 0}
end
local admission = admit(arrival, false, ARGV[1] ~= '0')
if admission[1] == 'drop' then
  return {admission, false, {}, 0}
elseif admission[1] == 'go' then
  local name, key = arrival.lane:match('^.-\n(.-)\n(.-)\n')
  admission = {'later', name or 'pause', key or '', '', ''}
end
local packed, bounce = {}, nil
forsake(arrival)
for _, gate in ipairs(arrival.gates) do
  leave(task, gate.name, gate.key, id, arrival.token)
  table.insert(packed, {gate.kind, gate.name, gate.key})
  if gate.kind == 'singleton' and redis.call('HGET', key_of('mark', gate.id), 'run') == id then
    keep(key_of('mark', gate.id), ARGV[5] + DAY) -- it lives as long as the record
  end
  if gate.kind == 'debounce' and gate.name == admission[2] and not state[3] then
    bounce = gate.id
  end
end
redis.call('HSETNX', run, 'f:since', exact(now))
redis.call('HSETNX', run, 'f:score', exact(now - arrival.priority))
quit(task, id)
local replaced, left
if bounce then
  local key = key_of('wait', bounce)
  local other = redis.call('HGET', key, 'run')
  if not other then
    redis.call('HSET', key, 'first', exact(now))
  elseif other ~= id then
    replaced = other
    left = cancel(other, of_run(other, 'run'), {of_run(other, 'outbox'), KEYS[4], KEYS[5], KEYS[7]}, ARGV[11], ARGV[5], ends, ends)
    redis.call('ZREM', key_of('held', task), other)
    keep(of_run(other, 'run'), ARGV[5])
    redis.call('HDEL', of_run(other, 'run'), 'f:since', 'f:bounce')
  end
  redis.call('HSET', key, 'at', exact(order(arrival)), 'run', id)
  keep(key, ARGV[5])
elseif not state[3] then
  pass(arrival)
end
redis.call('HSET', run, 'turn', ARGV[1] + 1, 'f:gates', cmsgpack.pack(packed))
redis.call('HDEL', run, 'owner', 'f:let', 'f:lane', 'f:bounce')
if ARGV[7] ~= '' then
  redis.call('HSET', run, 'end', ARGV[7])
end
redis.call('DEL', KEYS[2])
local due = state[3] and now or bounce and now + admission[4] or now - ARGV[8] + ARGV[4]
write(KEYS[3], {token = ARGV[2], step = '\0held', is_cancelled = state[3]}, ARGV[3], 'EX', ARGV[5])
redis.call('ZADD', KEYS[4], exact(due), id)
redis.call('ZREM', KEYS[5], id)
local limits, rows = key_of('limits', task), {}
if tonumber(redis.call('HGET', limits, '.keeps') or 0) < tonumber(ARGV[5]) then
  redis.call('HSET', limits, '.keeps', ARGV[5])
end
if not state[3] then
  redis.call('ZADD', key_of('held', task), exact(now), id)
  keep(key_of('held', task), ARGV[5])
end
if bounce then
  redis.call('HSET', run, 'f:bounce', bounce)
elseif not state[3] then
  redis.call('HSET', run, 'f:lane', arrival.lane)
  redis.call('ZADD', key_of('lane', arrival.lane), redis.call('HGET', run, 'f:score'), id)
  keep(key_of('lane', arrival.lane), ARGV[5])
  if redis.call('HEXISTS', key_of('at', task), arrival.lane) == 0 then
    push(gate_id(task, 'pause', ''), arrival.lane)
  end
end
keep(run, ARGV[5] + 172800) -- as park.lua
for key in (state[4] or ''):gmatch('[^\n]+') do -- the events that cancel the run
  keep(key, ARGV[5] + 172800)
end
drain(gate_id(task, 'pause', ''), KEYS[4], ends, most, rows)
for name, key in gates_of(task, arrival.lane) do
  drain(gate_id(task, name, key), KEYS[4], ends, most, rows)
end
soonest = math.min(soonest, due - now)
if soonest < tonumber(ARGV[6]) then
  redis.call('PUBLISH', KEYS[6], exact(soonest))
end
return {admission, replaced or false, rows, execute(note(last)), left or false}
