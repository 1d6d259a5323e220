-- ARGV: prefix, then tasks
-- Returns for each task: 1 if it is paused, how many runs are held back, then each limit as name, its numbers as
-- asked, or nothing, how they are overridden, or nothing, how many places are in use, for how many keys runs wait.
prefix = ARGV[1]
local states = {}
for i = 2, #ARGV do
  local task, rows, limits = ARGV[i], {}, {}
  local row = redis.call('HGETALL', key_of('limits', task))
  for at = 1, #row, 2 do
    limits[row[at]] = row[at + 1]
  end
  for field in pairs(limits) do
    local name = field:gsub('^!', '')
    if not field:find('^[.]') and (field == name or not limits[name]) then -- perhaps only overridden
      local list = task .. '\n' .. name
      table.insert(rows, {
        name, limits[name] or '', limits['!' .. name] or '',
        redis.call('ZCOUNT', key_of('running', list), '(' .. exact(now), '+inf'),
        redis.call('SCARD', key_of('lines', list)),
      })
    end
  end
  table.insert(states, {limits['.paused'] and 1 or 0, redis.call('ZCARD', key_of('held', task)), rows})
end
return states
