-- Comes before other scripts and after lines.lua, for which it defines what becomes of a run that asks.
-- Reads what a run asks with: prefix, task, run, token, lease, when it was deferred, priority, 1 if it goes on after a wait at
-- a step, the number of its gates, and each as kind, name, key, limit, period, burst, timeout or nothing, 1 if
-- it cancels. Remembers these numbers. Returns it, and where ARGV goes on.
local function asked(at, channel)
  prefix = ARGV[at]
  local arrival = {
    task = ARGV[at + 1], run = ARGV[at + 2], token = ARGV[at + 3], lease = tonumber(ARGV[at + 4]),
    made = tonumber(ARGV[at + 5]), priority = tonumber(ARGV[at + 6]), goes_on = ARGV[at + 7] == '1',
  }
  local gates, fields = {}, {'.lease', '.paused'}
  local limits, lane, rows = key_of('limits', arrival.task), {arrival.task .. '\n'}, {}
  for i = at + 9, at + 8 * ARGV[at + 8] + 1, 8 do
    local kind, name, key, limit, period, burst, timeout, cancels = unpack(ARGV, i, i + 7)
    local id = gate_id(arrival.task, name, key)
    table.insert(gates, {kind = kind, name = name, key = key, id = id, timeout = tonumber(timeout), cancels = cancels == '1'})
    table.insert(fields, name)
    table.insert(rows, table.concat({kind, limit, period, burst}, '\n'))
    if kind == 'concurrency' or (kind == 'throttle' and not arrival.goes_on) then
      table.insert(lane, name .. '\n' .. key .. '\n')
    end
  end
  arrival.gates, arrival.lane, arrival.is_in_line = gates, table.concat(lane), #lane > 1
  local old = redis.call('HMGET', limits, unpack(fields))
  if old[1] ~= ARGV[at + 4] then
    redis.call('HSET', limits, '.lease', ARGV[at + 4])
  end
  for i, row in ipairs(rows) do
    if old[i + 2] ~= row then
      local before = numbers(arrival.task, fields[i + 2])
      redis.call('HSET', limits, fields[i + 2], row)
      compare(arrival.task, fields[i + 2], before, channel)
    end
  end
  keep(limits, YEAR)
  arrival.is_paused = old[2]
  local state = redis.call('HMGET', of_run(arrival.run, 'run'), 'f:let', 'f:passed', 'f:drop', 'f:since', 'f:lane')
  arrival.let_from, arrival.has_passed = tonumber(state[1] or 0) > now and state[5] or '', state[2]
  arrival.drop, arrival.since = state[3], state[4]
  return arrival, at + 8 * ARGV[at + 8] + 9
end
-- Returns the run that has a mark, if that is another, whether it is alive, and when its run was deferred.
local function marked(arrival, gate)
  local mark = redis.call('HMGET', key_of('mark', gate.id), 'run', 'until', 'at')
  local lives = mark[1] and (tonumber(mark[2]) > now
    or (gate.kind == 'singleton' and redis.call('EXISTS', of_run(mark[1], 'outbox')) == 1))
  return mark[1] ~= arrival.run and mark[1] or nil, lives, tonumber(mark[3] or 0)
end
local function order(arrival) -- by which time earlier runs are told from later ones
  return math.min(arrival.made or now, now + 5)
end
-- Returns by which run another is replaced; or in how many seconds it may pass.
local function debounced(arrival, gate, is_woken)
  local row = redis.call('HMGET', key_of('wait', gate.id), 'at', 'run', 'gone_at', 'gone', 'first')
  if is_woken and (not row[2] or row[2] == arrival.run) then
    return nil, 0
  end
  for i = 1, 3, 2 do
    if row[i] and row[i + 1] ~= arrival.run and tonumber(row[i]) > order(arrival) then
      return row[i + 1]
    end
  end
  local ends = now + numbers(arrival.task, gate.name).period
  if gate.timeout then
    ends = math.min(ends, (row[2] and row[5] or now) + gate.timeout)
  end
  return nil, is_woken and 0 or math.max(ends - now, 0.000001)
end
local EARLY = {'idempotency', 'singleton', 'rate_limit', 'debounce'}
-- Asks the gates that do not let wait in line. Returns what becomes of the run, if it does not go on; and
-- the run that it cancels.
local function early(arrival, is_first, is_woken)
  local cancels = ''
  for _, kind in ipairs(EARLY) do
    for _, gate in ipairs(arrival.gates) do
      if gate.kind == kind and kind == 'debounce' and not arrival.has_passed and not arrival.goes_on then
        local by, wait = debounced(arrival, gate, is_woken)
        if by then
          return {'drop', 'replaced', gate.name, gate.key, by}
        elseif wait > 0 then
          return {'later', gate.name, gate.key, exact(wait), cancels}
        end
      elseif gate.kind == kind and kind == 'rate_limit' and is_first then
        local starts, limit = key_of('starts', gate.id), numbers(arrival.task, gate.name)
        local since = '(' .. exact(now - limit.period)
        if not redis.call('ZSCORE', starts, arrival.run) and redis.call('ZCOUNT', starts, since, '+inf') >= limit.limit then
          return {'drop', kind, gate.name, gate.key, ''}
        end
      elseif gate.kind == kind and (kind == 'singleton' or (kind == 'idempotency' and is_first)) then
        local other, lives, at = marked(arrival, gate)
        -- One that comes again may have lost its mark.
        if other and lives and not (gate.cancels and is_first and at <= order(arrival)) then
          return {'drop', kind, gate.name, gate.key, other}
        elseif other and lives then
          cancels = other
        elseif not other and gate.cancels and not arrival.goes_on then -- who claimed it may have died
          cancels = redis.call('HGET', key_of('mark', gate.id), 'before') or ''
        end
      end
    end
  end
  return nil, cancels
end
-- Whether a run was let through at a gate, and its place waits for it.
local function is_reserved(arrival, gate)
  for name, key in gates_of(arrival.task, arrival.let_from) do
    if name == gate.name and key == gate.key then
      local ends = gate.kind == 'concurrency' and redis.call('ZSCORE', key_of('places', gate.id), arrival.run .. '\n')
      return gate.kind == 'throttle' or tonumber(ends or 0) > now
    end
  end
end
-- Returns what becomes of a run: {'go', wait, run that it cancels}, {'later', name, key, due, run that it
-- cancels}, {'drop', reason, name, key, run because of which}.
local function admit(arrival, is_first, is_woken)
  local admission, cancels = early(arrival, is_first, is_woken)
  if admission then
    return admission
  elseif arrival.is_paused then
    return {'later', 'pause', '', '', cancels}
  end
  local at = arrival.let_from ~= arrival.lane and redis.call('HGET', key_of('at', arrival.task), arrival.lane)
  local first = at and foremost(arrival.task, arrival.lane)
  if first and first ~= arrival.run then
    local name, key = at:match('^.-\n(.-)\n(.*)$')
    return {'later', name, key, '', cancels}
  end
  local wait, late = 0, nil
  for _, gate in ipairs(arrival.gates) do
    local limit = numbers(arrival.task, gate.name)
    local has_place = is_reserved(arrival, gate)
    if gate.kind == 'concurrency' and not has_place and used(gate.id, arrival.run, arrival.token) >= limit.limit then
      return {'later', gate.name, gate.key, '', cancels}
    elseif gate.kind == 'throttle' and not arrival.goes_on then
      local row = redis.call('HMGET', key_of('pace', gate.id), 'tat', 'paced')
      local tat, paced = tonumber(row[1] or 0), tonumber(row[2] or 0)
      wait = math.max(ready(limit, has_place and tat or math.max(tat, paced)) - now, 0)
      late = wait > (has_place and PATIENCE or AHEAD) and {'later', gate.name, gate.key, wait < math.huge and exact(wait) or '', cancels}
    end
  end
  return late or {'go', exact(wait), cancels}
end
