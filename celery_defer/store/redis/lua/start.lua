-- Comes before other scripts and after admit.lua, for which it defines how a run is counted.
-- Marks what is asked only once: that the run has arrived; and whom a singleton lets it cancel.
local function mark(arrival, cancels)
  for _, gate in ipairs(arrival.gates) do
    local key, lasts = key_of('mark', gate.id), nil
    if gate.kind == 'idempotency' then
      local row = redis.call('HMGET', key, 'run', 'until')
      lasts = (row[1] ~= arrival.run or tonumber(row[2]) <= now) and numbers(arrival.task, gate.name).period
    elseif gate.kind == 'singleton' then
      lasts = arrival.lease
    elseif gate.kind == 'rate_limit' then
      local starts, limit = key_of('starts', gate.id), numbers(arrival.task, gate.name)
      redis.call('ZADD', starts, 'NX', exact(now), arrival.run)
      redis.call('ZREMRANGEBYSCORE', starts, '-inf', exact(now - limit.period))
      keep(starts, math.ceil(limit.period) + 1)
    end
    if lasts then
      redis.call('HSET', key, 'run', arrival.run, 'until', exact(now + lasts))
      redis.call('HDEL', key, 'before')
      if gate.kind == 'singleton' then
        redis.call('HSET', key, 'at', exact(order(arrival)))
      end
      if gate.kind == 'singleton' and cancels ~= '' then
        redis.call('HSET', key, 'before', cancels)
      end
      keep(key, math.ceil(lasts) + (gate.kind == 'singleton' and DAY or 1))
    end
  end
end
-- Lets a run go that has waited for a debounce.
local function pass(arrival)
  for _, gate in ipairs(arrival.gates) do
    if gate.kind == 'debounce' and not arrival.has_passed and not arrival.goes_on then
      local key = key_of('wait', gate.id)
      local row = redis.call('HMGET', key, 'at', 'run')
      if row[2] == arrival.run then
        redis.call('HDEL', key, 'at', 'run')
        redis.call('HSET', key, 'gone_at', row[1], 'gone', arrival.run)
      end
      redis.call('HSET', of_run(arrival.run, 'run'), 'f:passed', '1')
      redis.call('HDEL', of_run(arrival.run, 'run'), 'f:bounce')
    end
  end
end
-- Takes a run out of its lane.
local function quit(task, run)
  local lane = redis.call('HGET', of_run(run, 'run'), 'f:lane')
  if lane then
    redis.call('ZREM', key_of('lane', lane), run)
  end
  redis.call('ZREM', key_of('held', task), run)
end
-- Gives back what is reserved at gates that a run was held for, and asks no more.
local function forsake(arrival)
  local packed, asks = arrival.since and redis.call('HGET', of_run(arrival.run, 'run'), 'f:gates'), {}
  for _, gate in ipairs(arrival.gates) do
    asks[gate.id] = true
  end
  for _, gate in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local kind, name, key = unpack(gate)
    local id = gate_id(arrival.task, name, key)
    if kind == 'concurrency' and not asks[id] then
      leave(arrival.task, name, key, arrival.run, '')
      if redis.call('EXISTS', key_of('blocked', id)) == 1 then
        due_at(id, now)
      end
    end
  end
end
-- Gives a run that may start its places.
local function start(arrival, wait)
  local at = now + wait
  forsake(arrival)
  for _, gate in ipairs(arrival.gates) do
    local limit = numbers(arrival.task, gate.name)
    if gate.kind == 'concurrency' then
      local ends = now + arrival.lease
      take(arrival.task, gate.name, gate.key, arrival.run, arrival.token, ends, limit.limit)
      if redis.call('EXISTS', key_of('blocked', gate.id)) == 1 then
        due_at(gate.id, ends)
      end
    elseif gate.kind == 'throttle' and not arrival.goes_on then
      local row = redis.call('HMGET', key_of('pace', gate.id), 'tat', 'paced')
      local tat, paced = tonumber(row[1] or 0), tonumber(row[2] or 0)
      local next = math.max(paced, at) + interval(limit)
      pace(gate.id, limit, is_reserved(arrival, gate) and paced or next, math.max(tat, at) + interval(limit))
    elseif gate.kind == 'singleton' then
      local key = key_of('mark', gate.id)
      if redis.call('HGET', key, 'run') ~= arrival.run then
        redis.call('HDEL', key, 'before')
        redis.call('HSET', key, 'at', exact(order(arrival)))
      end
      redis.call('HSET', key, 'run', arrival.run, 'until', exact(now + arrival.lease))
      keep(key, math.ceil(arrival.lease) + DAY)
    end
  end
  if arrival.since then -- it was held back
    quit(arrival.task, arrival.run)
    redis.call('HDEL', of_run(arrival.run, 'run'), 'f:let', 'f:since', 'f:score', 'f:lane')
  end
end
