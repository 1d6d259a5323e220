-- Comes before other scripts and after keep.lua, for which it defines the names of gates, and how they count.
-- A gate is task, name and key; a lane is a task, then name and key of each gate; each ends a line. The
-- caller sets *prefix*, which all keys have; gates and runs are found at run time, so KEYS has not all.
local YEAR, DAY, AHEAD, PATIENCE, prefix, soonest = 31536000, 86400, 0.1, 1, '', math.huge
local function exact(number)
  return string.format('%.17g', number)
end
local function key_of(kind, id)
  return prefix .. 'flow:' .. kind .. ':' .. id
end
local function of_run(run, kind)
  return prefix .. '{' .. run .. '}:' .. kind
end
local function gate_id(task, name, key)
  return task .. '\n' .. name .. '\n' .. key
end
local known = {}
-- Returns the numbers in force of a limit: kind, limit, period, burst; {} if it is not known.
local function numbers(task, name)
  local id = task .. '\n' .. name
  if not known[id] then
    local rows = redis.call('HMGET', key_of('limits', task), name, '!' .. name)
    local kind, limit, period, burst = (rows[1] or ''):match('^(.-)\n(.-)\n(.-)\n(.*)$')
    local other, longer, more = (rows[2] or '\n\n'):match('^(.-)\n(.-)\n(.*)$')
    known[id] = {
      kind = kind, limit = tonumber(other) or tonumber(limit), burst = tonumber(more) or tonumber(burst),
      period = tonumber(longer) or tonumber(period),
    }
  end
  return known[id]
end
local function interval(gate) -- with a reserve, as in flow/decide.py
  return gate.limit > 0 and (gate.period + math.min(gate.period * 0.025, 0.1)) / gate.limit or math.huge
end
local function ready(gate, tat)
  return gate.limit > 0 and tat - (gate.burst - 1) * interval(gate) or math.huge
end
-- Returns how many places are in use; without those of one delivery, and reserved ones of its run.
local function used(id, run, token)
  local places = key_of('places', id)
  local count = redis.call('ZCOUNT', places, '(' .. exact(now), '+inf')
  for _, delivery in ipairs(run and {token, ''} or {}) do
    local ends = redis.call('ZSCORE', places, run .. '\n' .. delivery)
    count = count - (ends and tonumber(ends) > now and 1 or 0)
  end
  return count
end
-- Gives a place; those that have run out are given away if there are not enough. All keys of a limit
-- are counted together, too.
local function take(task, name, key, run, token, ends, limit)
  local places, place = key_of('places', gate_id(task, name, key)), run .. '\n' .. token
  redis.call('ZREM', places, run .. '\n')
  redis.call('ZADD', places, exact(ends), place)
  keep(places, math.ceil(ends - now) + DAY)
  local lapsed = redis.call('ZCOUNT', places, '-inf', exact(now))
  local extra = math.min(lapsed, redis.call('ZCARD', places) - limit)
  if extra > 0 then
    redis.call('ZREMRANGEBYRANK', places, 0, extra - 1)
  end
  local all = key_of('running', task .. '\n' .. name)
  redis.call('ZREMRANGEBYSCORE', all, '-inf', exact(now))
  redis.call('ZREM', all, run .. '\n')
  redis.call('ZADD', all, exact(ends), place)
  keep(all, math.ceil(ends - now))
end
-- Frees the place of a delivery, and one that is reserved; without a token all of the run.
local function leave(task, name, key, run, token)
  local places, all = key_of('places', gate_id(task, name, key)), key_of('running', task .. '\n' .. name)
  local left = {run .. '\n', token and run .. '\n' .. token}
  for _, place in ipairs(token and {} or redis.call('ZRANGE', places, 0, -1)) do
    if place:sub(1, #run + 1) == run .. '\n' then
      table.insert(left, place)
    end
  end
  redis.call('ZREM', places, unpack(left))
  redis.call('ZREM', all, unpack(left))
end
