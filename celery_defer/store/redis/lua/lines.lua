-- Comes before other scripts and after gates.lua and lease.lua, for which it defines the lines at gates.
-- Runs whose keys are the same stand in one lane; a lane that is not empty is in the list of one gate
-- that blocks it.
local earliest
local left = 1000 -- how many runs one script looks at; the next one goes on
local function look() -- when gates were to be drained before this script
  if not earliest then
    local first = redis.call('ZRANGE', prefix .. 'flow:due', 0, 0, 'WITHSCORES')[2]
    earliest = tonumber(first or math.huge)
  end
end
local function due_at(gate, at)
  look()
  redis.call('ZADD', prefix .. 'flow:due', 'LT', exact(at), gate)
  keep(prefix .. 'flow:due', YEAR)
  if at < earliest then -- else relays know that they have to look
    soonest = math.min(soonest, at - now)
  end
end
local function keeps(task)
  return redis.call('HGET', key_of('limits', task), '.keeps') or DAY
end
local function push(gate, lane, side)
  local task, name, key = gate:match('^(.-)\n(.-)\n(.*)$')
  redis.call(side or 'RPUSH', key_of('blocked', gate), lane)
  redis.call('HSET', key_of('at', task), lane, gate)
  redis.call('SADD', key_of('lines', task .. '\n' .. name), key)
  for _, list in ipairs({key_of('blocked', gate), key_of('at', task), key_of('lines', task .. '\n' .. name)}) do
    keep(list, keeps(task))
  end
end
-- Returns the first run of a lane, with the key of its record and the record; forgets those whose record
-- is gone. Without a record it has not looked at that run, for it has looked at enough.
local function foremost(task, lane)
  local run = redis.call('ZRANGE', key_of('lane', lane), 0, 0)[1]
  while run and left > 0 do
    left = left - 1
    local key = of_run(run, 'outbox')
    local record = read(key)
    if record.step == '\0held' and not record.is_cancelled then
      return run, key, record
    end
    redis.call('ZREM', key_of('lane', lane), run)
    redis.call('ZREM', key_of('held', task), run)
    run = redis.call('ZRANGE', key_of('lane', lane), 0, 0)[1]
  end
  return run
end
local function gates_of(task, lane)
  return lane:sub(#task + 2):gmatch('(.-)\n(.-)\n')
end
-- Returns the gate that blocks a lane, and when it may not any more.
local function blocking(task, lane)
  if redis.call('HEXISTS', key_of('limits', task), '.paused') == 1 then
    return gate_id(task, 'pause', '')
  end
  for name, key in gates_of(task, lane) do
    local id, gate = gate_id(task, name, key), numbers(task, name)
    if gate.kind == 'concurrency' and used(id) >= gate.limit then
      local first = redis.call('ZRANGEBYSCORE', key_of('places', id), '(' .. exact(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      return id, tonumber(first[2])
    elseif gate.kind == 'throttle' then
      local at = ready(gate, tonumber(redis.call('HGET', key_of('pace', id), 'paced') or 0))
      if at > now + AHEAD then
        return id, at < math.huge and at - AHEAD / 2 or nil
      end
    end
  end
end
local function pace(id, gate, paced, tat)
  redis.call('HSET', key_of('pace', id), 'paced', exact(paced))
  if tat then
    redis.call('HSET', key_of('pace', id), 'tat', exact(tat))
  end
  keep(key_of('pace', id), math.ceil(math.max(paced, tat or 0) - now + gate.period) + 60)
end
-- Reserves places for a run, and leases its record.
local function let(task, lane, run, key, record, due, ends)
  local lasts = 2 * (redis.call('HGET', key_of('limits', task), '.lease') or 30) * 2 ^ math.min(record.tries, 20)
  local free = now + math.min(lasts, 3600)
  for name, part in gates_of(task, lane) do
    local id, gate = gate_id(task, name, part), numbers(task, name)
    if gate.kind == 'concurrency' then
      take(task, name, part, run, '', free, gate.limit)
    elseif gate.kind == 'throttle' then
      local paced = tonumber(redis.call('HGET', key_of('pace', id), 'paced') or 0)
      pace(id, gate, math.max(paced, now - AHEAD) + interval(gate))
    end
  end
  redis.call('HSET', of_run(run, 'run'), 'f:let', exact(free))
  keep(of_run(run, 'run'), keeps(task))
  redis.call('ZREM', key_of('lane', lane), run)
  redis.call('ZREM', key_of('held', task), run)
  return lease(key, record, due, run, ends)
end
-- Lets through who waits for a gate, from each lane in turn, until the gate blocks; adds their leases
-- to *rows*, as long as they are fewer than *most*.
local function drain(gate, due, ends, most, rows)
  local task, name, part = gate:match('^(.-)\n(.-)\n(.*)$')
  local list = key_of('blocked', gate)
  look()
  redis.call('ZREM', prefix .. 'flow:due', gate)
  local lane = redis.call('LPOP', list)
  while lane do
    local run, key, record
    if #rows < most then
      run, key, record = foremost(task, lane)
      left = left - (run and 0 or 1)
    end
    if #rows >= most or left < 0 or (run and not record) then
      push(gate, lane, 'LPUSH')
      return due_at(gate, now)
    end
    local other, at
    if run then
      other, at = blocking(task, lane)
    end
    if not run then
      redis.call('HDEL', key_of('at', task), lane)
    elseif other == gate then
      push(gate, lane, 'LPUSH')
      return at and due_at(gate, at)
    elseif other then
      push(other, lane)
      if at then
        due_at(other, at)
      end
    else
      table.insert(rows, let(task, lane, run, key, record, due, ends))
      push(gate, lane)
    end
    lane = redis.call('LPOP', list)
  end
  redis.call('SREM', key_of('lines', task .. '\n' .. name), part)
end
-- Lets all gates of a limit be drained if its numbers let more through than *before*. A marker stands for
-- them, with a cursor as its key, because they may be many.
local function compare(task, name, before, channel)
  known[task .. '\n' .. name] = nil
  local after, more = numbers(task, name), nil
  if not before.kind or redis.call('EXISTS', key_of('lines', task .. '\n' .. name)) == 0 then
    return
  elseif after.kind == 'concurrency' or before.limit <= 0 or after.limit <= 0 then
    more = after.limit > before.limit
  else
    local was, is = interval(before), interval(after)
    more = is < was or (after.burst - 1) * is > (before.burst - 1) * was
  end
  if more then
    due_at(gate_id(task, '*' .. name, '0'), now)
    redis.call('PUBLISH', channel, 0)
  end
end
