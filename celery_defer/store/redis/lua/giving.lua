-- Comes before other scripts and after start.lua, for which it defines how places are given back.
-- ARGV has from *at* on: prefix, run id, task, 1 if a token is given, token, 1 if the run has ended, in how many
-- seconds it comes back, now and the end of the leases (both as seconds from now), how many runs may be let
-- through, then to its end kind, name and key of each gate. Returns the leases of runs to publish.
local function give_back(at, due, channel)
  prefix = ARGV[at]
  local id, task, has_token, token, ended, back, since, ends, most = unpack(ARGV, at + 1, at + 9)
  token, ended, most = has_token == '1' and token or nil, ended == '1', tonumber(most)
  local run = of_run(id, 'run')
  ends, now = now + ends, now + since
  local gates, seen, rows = {}, {}, {}
  local function add(kind, name, key)
    local gate = gate_id(task, name, key)
    if not seen[gate] then
      seen[gate] = true
      table.insert(gates, {kind = kind, name = name, key = key, id = gate})
    end
  end
  for i = at + 10, #ARGV, 3 do
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
        local ends_at = back + (redis.call('HGET', key_of('limits', task), '.lease') or 30)
        redis.call('HSET', mark, 'until', exact(now + ends_at))
        keep(mark, math.ceil(math.max(ends_at, redis.call('TTL', of_run(id, 'outbox')))) + DAY)
      end
    elseif gate.kind == 'debounce' and ended and redis.call('HGET', key_of('wait', gate.id), 'run') == id then
      redis.call('HDEL', key_of('wait', gate.id), 'at', 'run')
    end
  end
  if ended then
    if read(of_run(id, 'outbox')).step == '\0held' then -- by another delivery
      redis.call('DEL', of_run(id, 'outbox'))
      redis.call('ZREM', due, id)
    end
    local state = redis.call('HMGET', run, 'turn', 'owner')
    if state[1] and not state[2] then -- a wake-up may be on its way
      redis.call('HSET', run, 'owner', 'ended')
    end
    quit(task, id)
    redis.call('HDEL', run, 'f:let', 'f:since', 'f:score', 'f:lane', 'f:bounce', 'f:gates', 'f:passed', 'f:drop')
  end
  for _, gate in ipairs(gates) do
    drain(gate.id, due, ends, most, rows)
  end
  if soonest < 60 then
    redis.call('PUBLISH', channel, exact(soonest))
  end
  return rows
end
