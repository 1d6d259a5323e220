-- KEYS: the index of due times, the channel of the alarm
-- ARGV: prefix, run id, task, 1 if a token is given, token, 1 if the run has ended, in how many seconds it comes
--       back, now and the end of the leases (both as seconds from now), how many runs may be let through, then
--       kind, name and key of each gate
-- Returns the leases of runs to publish.
prefix = ARGV[1]
local id, task, token, ended = ARGV[2], ARGV[3], ARGV[4] == '1' and ARGV[5] or nil, ARGV[6] == '1'
local ends, most, run = now + ARGV[9], tonumber(ARGV[10]), of_run(ARGV[2], 'run')
now = now + ARGV[8]
local gates, seen, rows = {}, {}, {}
local function add(kind, name, key)
  local gate = gate_id(task, name, key)
  if not seen[gate] then
    seen[gate] = true
    table.insert(gates, {kind = kind, name = name, key = key, id = gate})
  end
end
for i = 11, #ARGV, 3 do
  add(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
local packed = redis.call('HGET', run, 'f:gates')
for _, gate in ipairs(packed and cmsgpack.unpack(packed) or {}) do
  add(unpack(gate))
end
for _, gate in ipairs(gates) do
  if gate.kind == 'concurrency' then
    leave(task, gate.name, gate.key, id, token)
  elseif gate.kind == 'singleton' then
    local mark = key_of('mark', gate.id)
    local row = redis.call('HMGET', mark, 'run', 'before')
    if row[1] ~= id then
      if ended and row[2] == id then
        redis.call('HDEL', mark, 'before')
      end
    elseif ended then
      redis.call('DEL', mark)
      redis.call('HSET', mark, 'run', '', 'until', 0) -- else `renew` may take it for lost
      keep(mark, 60)
    else
      local back = ARGV[7] + (redis.call('HGET', key_of('limits', task), '.lease') or 30)
      redis.call('HSET', mark, 'until', exact(now + back))
      keep(mark, math.ceil(math.max(back, redis.call('TTL', of_run(id, 'outbox')))) + DAY)
    end
  elseif gate.kind == 'debounce' and ended and redis.call('HGET', key_of('wait', gate.id), 'run') == id then
    redis.call('HDEL', key_of('wait', gate.id), 'at', 'run')
  end
end
if ended then
  if read(of_run(id, 'outbox')).step == '\0held' then -- by another delivery
    redis.call('DEL', of_run(id, 'outbox'))
    redis.call('ZREM', KEYS[1], id)
  end
  local state = redis.call('HMGET', run, 'turn', 'owner')
  if state[1] and not state[2] then -- a wake-up may be on its way
    redis.call('HSET', run, 'owner', 'ended')
  end
  quit(task, id)
  redis.call('HDEL', run, 'f:let', 'f:since', 'f:score', 'f:lane', 'f:bounce', 'f:gates', 'f:passed', 'f:drop')
end
for _, gate in ipairs(gates) do
  drain(gate.id, KEYS[1], ends, most, rows)
end
if soonest < 60 then
  redis.call('PUBLISH', KEYS[2], exact(soonest))
end
return rows
