-- KEYS: the index of due times
-- ARGV: prefix, now and the end of the leases (both as seconds from now), how many runs may be let through
-- Returns the leases of runs to publish.
prefix = ARGV[1]
local ends, rows = now + ARGV[3], {}
now = now + ARGV[2]
local function due() -- gates, and markers that stand for those of a limit
  return redis.call('ZRANGEBYSCORE', prefix .. 'flow:due', '-inf', exact(now), 'LIMIT', 0, 1000)
end
local spread = 0
for _, marker in ipairs(due()) do
  local task, name, cursor = marker:match('^(.-)\n[*](.-)\n(.*)$')
  if task and spread < 1000 then
    local at = redis.call('ZSCORE', prefix .. 'flow:due', marker)
    local page = redis.call('SSCAN', key_of('lines', task .. '\n' .. name), cursor, 'COUNT', 1000)
    redis.call('ZREM', prefix .. 'flow:due', marker)
    for _, key in ipairs(page[2]) do
      due_at(gate_id(task, name, key), tonumber(at))
    end
    if page[1] ~= '0' then
      due_at(gate_id(task, '*' .. name, page[1]), tonumber(at))
    end
    spread = spread + #page[2]
  end
end
for _, gate in ipairs(due()) do
  if #rows >= tonumber(ARGV[4]) or left <= 0 then
    break
  elseif not gate:find('^.-\n[*]') then
    drain(gate, KEYS[1], ends, tonumber(ARGV[4]), rows)
  end
end
return rows
